"""Every error that a caller may meet, in one tree.

NeoError
├── InvalidRequestError      the request itself is wrong; names the fields      INVALID_ARGUMENT
│   └── PromptTooLongError   the prompt does not fit the context                OUT_OF_RANGE
├── NotFoundError            item, model or catalog that is not there           NOT_FOUND
├── NoEligibleItemError      the constraints leave nothing (unary calls)        FAILED_PRECONDITION
├── PrefixCacheError         this worker remembers no prompts                   FAILED_PRECONDITION
├── OverloadedError          no room now; try again later                       RESOURCE_EXHAUSTED
├── SlowClientError          the client does not read its stream                RESOURCE_EXHAUSTED
├── ConflictError            somebody else changed it meanwhile; look again     ABORTED
├── DeadlineError            the answer took longer than the worker allows      DEADLINE_EXCEEDED
├── UnavailableError         draining or not loaded yet; try elsewhere          UNAVAILABLE
├── EventError               an item event that must not be applied             (dead letter)
├── StorageError             the disk or LMDB's map takes no more for now       (waited out)
└── StartupError             a worker or command cannot start                   (exit code 1, one line)
    ├── SupersededError      another assigner writes in this one's place
    ├── CatalogError         the catalog's files are missing, broken or in use
    │   └── SnapshotError    a snapshot is missing, damaged or does not fit          FAILED_PRECONDITION
    ├── DataError            a folder of interactions and queries is wrong; names file and line
    ├── MismatchError        model, codebooks and catalog do not belong together
    └── ModelError           the model folder is missing or incomplete
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


class NeoError(Exception):
    """Base of all. `reason` is stable and meant for programs, the message for people."""

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})

    def __reduce__(self) -> tuple[Callable[..., NeoError], tuple[object, ...]]:
        """Pickled as it is, whatever its kind is made from: errors cross from the engine's process to the front's."""
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[NeoError], args: tuple[object, ...], state: Mapping[str, object]) -> NeoError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path in the request, and what it must be."""

    field: str
    description: str


class InvalidRequestError(NeoError):
    """The request is wrong; sending it again does not help."""

    reason = "INVALID_REQUEST"

    def __init__(self, violations: list[FieldViolation], *, reason: str | None = None) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations), reason=reason)
        self.violations = violations


class PromptTooLongError(InvalidRequestError):
    """The prompt and the answer do not fit the model's context."""

    reason = "PROMPT_TOO_LONG"


class NotFoundError(NeoError):
    """Something that the request names does not exist."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str, *, field: str = "", reason: str | None = None) -> None:
        super().__init__(f"{kind} {name!r} not found", reason=reason or f"{kind.upper()}_NOT_FOUND")
        self.kind, self.name, self.field = kind, name, field


class NoEligibleItemError(NeoError):
    """The constraints leave no item to answer with."""

    reason = "NO_ELIGIBLE_ITEM"


class PrefixCacheError(NeoError):
    """Nothing can be warmed where no prompt is remembered. Operator action: what the message says."""

    reason = "NO_PREFIX_CACHE"


class OverloadedError(NeoError):
    """The worker has as much to do as it takes on. `retry_after_s`: there may be room then."""

    reason = "QUEUE_FULL"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, reason: str | None = None) -> None:
        super().__init__(f"{message}; try again in about {retry_after_s:.2g} s", reason=reason)
        self.retry_after_s = retry_after_s


class SlowClientError(NeoError):
    """The client let its stream fill up; the answer was stopped."""

    reason = "SLOW_CLIENT"


class ConflictError(NeoError):
    """What the caller looked at has changed since. Operator action: look again, then decide again."""

    reason = "ALIASES_MOVED"


class DeadlineError(NeoError):
    """The worker's own limit on one call passed."""

    reason = "WORKER_DEADLINE"


class UnavailableError(NeoError):
    """This worker cannot answer now; another one may."""

    reason = "DRAINING"
    retry_after_s = 1.0


class EventError(NeoError):
    """An item event that cannot be applied. It becomes a dead letter with this reason."""

    reason = "INVALID_EVENT"


class StorageError(NeoError):
    """The catalog cannot be written for now, and nothing of the attempt was kept: the same again may work later.

    Operator action: make room on the catalog's disk; workers go on by themselves.
    """

    reason = "STORAGE_FULL"


class StartupError(NeoError):
    """A process cannot start. Operator action: do what the message says, then start again."""

    reason = "STARTUP_FAILED"


class SupersededError(StartupError):
    """Another assigner writes in this one's place. Operator action: start it again, and it stands by."""

    reason = "SUPERSEDED"


class CatalogError(StartupError):
    """The catalog's files are missing, damaged, of another version, or held by another writer."""

    reason = "CATALOG_UNUSABLE"


class SnapshotError(CatalogError):
    """A snapshot is missing, damaged, of another format, or still in use."""

    reason = "SNAPSHOT_UNUSABLE"


class DataError(StartupError):
    """Items, interactions or queries cannot be used. Operator action: mend the file and line that the message names."""

    reason = "DATA_INVALID"


class MismatchError(StartupError):
    """Model, codebooks and catalog differ in fingerprint. Operator action: use the three that were made together."""

    reason = "CODEBOOK_MISMATCH"


class ModelError(StartupError):
    """The model folder is missing or incomplete."""

    reason = "MODEL_UNUSABLE"
