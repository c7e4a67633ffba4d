"""Protobuf requests to engine work: every field checked, every violation reported at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from neo_runtime.catalog.item import MAX_ATTRIBUTES, MAX_ID_BYTES
from neo_runtime.engine.api import (
    MAX_BONUS,
    Constraints,
    Decoding,
    EngineLimits,
    GenerateWork,
    OutputFormat,
    RankWork,
    WarmWork,
)
from neo_runtime.errors import FieldViolation, InvalidRequestError, NotFoundError
from neo_runtime.prompt.message import Conversation, Part, Prompt, Role, Task, TaskPrompt, Turn
from neo_runtime.serving.filters import read_filter
from neo_runtime.trie.predicate import BAD_FILTER, Predicate
from neo_runtime.types import ItemKey
from neo_runtime.v1 import catalog_pb2, constraint_pb2
from neo_runtime.v1 import generation_service_pb2 as pb

MAX_CONSTRAINT_ITEMS = 10_000
MAX_HISTORY = 1_000
MAX_PROMPT_CHARS, MAX_PROMPT_PARTS = 200_000, 10_000  # of all messages together
MAX_ITEM_TYPES = 1_000
MAX_NAMED_FILTERS = 64
MAX_FEATURES, MAX_FEATURE_CHARS = 64, 1_000
_FILTER_FIELDS = ("constraints.filter", "constraints.named_filters")
REGION = "region"  # the feature that availability windows go by
MAX_STOP_SEQUENCES, MAX_STOP_CHARS = 16, 1_000
DEFAULT_RESULTS = 10

_TASKS: dict[int, Task] = {
    pb.TaskPrompt.TASK_RECOMMEND: Task.RECOMMEND,
    pb.TaskPrompt.TASK_RETRIEVE: Task.RETRIEVE,
    pb.TaskPrompt.TASK_EXPLAIN: Task.EXPLAIN,
    pb.TaskPrompt.TASK_UNDERSTAND: Task.UNDERSTAND,
}
_ROLES: dict[int, Role] = {
    pb.Message.ROLE_SYSTEM: "system",
    pb.Message.ROLE_USER: "user",
    pb.Message.ROLE_ASSISTANT: "assistant",
}
_FORMATS: dict[int, OutputFormat] = {
    pb.ResponseOptions.FORMAT_UNSPECIFIED: OutputFormat.MIXED,
    pb.ResponseOptions.FORMAT_ITEMS_ONLY: OutputFormat.ITEMS_ONLY,
    pb.ResponseOptions.FORMAT_TEXT_ONLY: OutputFormat.TEXT_ONLY,
}


class RequestReader:
    """Reads requests for one model; collects every violation before it refuses."""

    def __init__(
        self, model: str, item_types: Collection[str], limits: EngineLimits, named_filters: Mapping[str, Predicate]
    ) -> None:
        self._model, self._types, self._limits, self._named_filters = model, item_types, limits, named_filters
        self._violations: list[FieldViolation] = []

    def generate(self, request: pb.GenerateRequest) -> GenerateWork:
        """InvalidRequestError with every wrong field; NotFoundError for a model that is not served."""
        prompt, constraints = self._common(request)
        decoding = self._decoding(request.decoding)
        output = self._options(request.options)
        history = self._history(request.user)
        self._refuse()
        options = request.options
        return GenerateWork(
            prompt, history, constraints, decoding, output, options.alternatives, options.new_item_bonus
        )  # fmt: skip

    def rank(self, request: pb.RankItemsRequest) -> RankWork:
        """Same errors as `generate`."""
        prompt, constraints = self._common(request)
        self._most("max_results", request.max_results, self._limits.max_beam_width)
        is_text = self._options(request.options) is OutputFormat.TEXT_ONLY
        self._check(not is_text, "options.format", "leaves out items, and a ranked list has nothing else")
        history = self._history(request.user)
        self._refuse()
        results, bonus = request.max_results or DEFAULT_RESULTS, request.options.new_item_bonus
        return RankWork(prompt, history, constraints, results, bonus)

    def warm(self, request: pb.WarmRequest) -> WarmWork:
        """Same errors as `generate`; a conversation that is to be continued may end with any message."""
        self._check_model(request.model)
        prompt, history = self._prompt(request), self._history(request.user)
        self._region(request.user)
        self._refuse()
        return WarmWork(prompt, history)

    def _check_model(self, name: str) -> None:
        if name and name != self._model:
            raise NotFoundError("model", name, field="model")

    def _common(self, request: pb.GenerateRequest | pb.RankItemsRequest) -> tuple[Prompt, Constraints]:
        self._check_model(request.model)
        constraints = self._constraints(request.constraints, self._region(request.user))
        prompt = self._prompt(request)
        if isinstance(prompt, TaskPrompt) and prompt.task is not Task.UNDERSTAND and prompt.item_type in self._types:
            if not constraints.item_types:
                constraints = replace(constraints, item_types=(prompt.item_type,))
            elif prompt.item_type not in constraints.item_types:
                self._wrong("constraints.item_types", f"leaves out {prompt.item_type!r}, which the task asks for")
        for index, ref in enumerate(request.constraints.allow_items[:MAX_CONSTRAINT_ITEMS]):
            if constraints.item_types and ref.item_type not in constraints.item_types:
                self._wrong(f"constraints.allow_items[{index}]", f"is of type {ref.item_type!r}, which is not wanted")
        return prompt, constraints

    def _options(self, options: pb.ResponseOptions) -> OutputFormat:
        self._most("options.attributes", len(options.attributes), MAX_ATTRIBUTES, " names")
        self._most("options.alternatives", options.alternatives, self._limits.max_beam_width - 1)
        self._check(options.format in _FORMATS, "options.format", "is not a known format")
        in_range = abs(options.new_item_bonus) <= MAX_BONUS  # false for NaN
        self._check(in_range, "options.new_item_bonus", f"must be between -{MAX_BONUS} and {MAX_BONUS}")
        return _FORMATS.get(options.format, OutputFormat.MIXED)

    def _prompt(self, request: pb.GenerateRequest | pb.RankItemsRequest | pb.WarmRequest) -> Prompt:
        kind = request.WhichOneof("prompt")
        if kind == "conversation":
            return self._conversation(request.conversation, ends_with_user=not isinstance(request, pb.WarmRequest))
        if kind == "task":
            return self._task(request.task)
        self._wrong("prompt", "is missing: set conversation or task")
        return Conversation(())

    def _conversation(self, message: pb.Conversation, *, ends_with_user: bool) -> Conversation:
        contents = [content for turn in message.messages for content in turn.contents]
        if not self._fits("conversation.messages", contents, len(message.messages)):
            return Conversation(())
        turns = []
        for index, turn in enumerate(message.messages):
            field = f"conversation.messages[{index}]"
            self._check(turn.role in _ROLES, f"{field}.role", "is not set")
            self._check(bool(turn.contents), f"{field}.contents", "is empty")
            turns.append(Turn(_ROLES.get(turn.role, "user"), self._parts(turn.contents, f"{field}.contents")))
        self._check(bool(turns), "conversation.messages", "is empty")
        if turns:
            is_asked = turns[-1].role == "user" or not ends_with_user
            self._check(is_asked, "conversation.messages", "must end with a message of the user")
            self._check(
                any(_says(part) for part in turns[-1].parts), "conversation.messages", "ends with an empty prompt"
            )
        return Conversation(tuple(turns))

    def _task(self, message: pb.TaskPrompt) -> TaskPrompt:
        task = _TASKS.get(message.task)
        self._check(task is not None, "task.task", "is not set")
        if message.item_type or task is not Task.UNDERSTAND:
            self._known_type("task.item_type", message.item_type)
        fits = self._fits("task.subject", message.subject)
        subject = self._parts(message.subject if fits else (), "task.subject")
        if task is Task.RETRIEVE:
            self._check(any(_says(part) for part in subject), "task.subject", "is empty: say what to look for")
        if task is Task.UNDERSTAND:
            self._check(any(isinstance(part, ItemKey) for part in subject), "task.subject", "names no item")
        return TaskPrompt(task or Task.RECOMMEND, message.item_type, subject)

    def _parts(self, contents: Sequence[pb.Content], field: str) -> tuple[Part, ...]:
        parts: list[Part] = []
        for index, content in enumerate(contents):
            kind = content.WhichOneof("part")
            self._check(kind is not None, f"{field}[{index}]", "is neither text nor item")
            if kind == "item":
                parts.append(self._key(content.item, f"{field}[{index}].item"))
            elif kind == "text":
                parts.append(content.text)
        return tuple(parts)

    def _fits(self, field: str, contents: Sequence[pb.Content], messages: int = 0) -> bool:
        """The engine's one thread renders prompts, so an oversized one would hold up everybody's answers."""
        parts, characters = max(len(contents), messages), sum(len(content.text) for content in contents)
        self._most(field, parts, MAX_PROMPT_PARTS, " parts")
        self._most(field, characters, MAX_PROMPT_CHARS, " characters")
        return parts <= MAX_PROMPT_PARTS and characters <= MAX_PROMPT_CHARS

    def _history(self, user: pb.UserContext) -> tuple[ItemKey, ...]:
        self._most("user.history", len(user.history), MAX_HISTORY, " items")
        return tuple(
            self._key(entry.item, f"user.history[{i}].item") for i, entry in enumerate(user.history[:MAX_HISTORY])
        )

    def _region(self, user: pb.UserContext) -> str | None:
        self._most("user.features", len(user.features), MAX_FEATURES, " entries")
        longest = max((len(text) for pair in user.features.items() for text in pair), default=0)
        self._most("user.features", longest, MAX_FEATURE_CHARS, " characters")
        return user.features.get(REGION) or None

    def _constraints(self, spec: constraint_pb2.ConstraintSpec, region: str | None) -> Constraints:
        self._most("constraints.item_types", len(spec.item_types), MAX_ITEM_TYPES, " names")
        for index, name in enumerate(spec.item_types[:MAX_ITEM_TYPES]):
            self._known_type(f"constraints.item_types[{index}]", name)
        allow = self._keys(spec.allow_items, "constraints.allow_items")
        deny = self._keys(spec.deny_items, "constraints.deny_items")
        exclude = spec.exclude_history if spec.HasField("exclude_history") else True
        item_types = tuple(dict.fromkeys(spec.item_types[:MAX_ITEM_TYPES]))
        predicates = (*self._filter(spec), *self._named(spec.named_filters))
        return Constraints(item_types, allow or None, deny, exclude, predicates, region)

    def _filter(self, spec: constraint_pb2.ConstraintSpec) -> Iterator[Predicate]:
        predicate, found = read_filter(spec.filter, "constraints.filter")
        self._violations += found
        if predicate != Predicate():
            yield predicate

    def _named(self, names: Sequence[str]) -> list[Predicate]:
        self._most("constraints.named_filters", len(names), MAX_NAMED_FILTERS, " names")
        known = ", ".join(sorted(self._named_filters)) or "none, since the configuration declares no filter"
        for index, name in enumerate(names[:MAX_NAMED_FILTERS]):
            field = f"constraints.named_filters[{index}]"
            self._check(name in self._named_filters, field, f"{name!r} is not declared; known are {known}")
        return [self._named_filters[name] for name in dict.fromkeys(names) if name in self._named_filters]

    def _keys(self, refs: Sequence[catalog_pb2.ItemRef], field: str) -> frozenset[ItemKey]:
        self._most(field, len(refs), MAX_CONSTRAINT_ITEMS, " items")
        keys = [self._key(ref, f"{field}[{i}]") for i, ref in enumerate(refs[:MAX_CONSTRAINT_ITEMS])]
        return frozenset(keys)

    def _key(self, ref: catalog_pb2.ItemRef, field: str) -> ItemKey:
        self._known_type(f"{field}.item_type", ref.item_type)
        is_id = 0 < len(ref.item_id.encode()) <= MAX_ID_BYTES and "\0" not in ref.item_id
        self._check(is_id, f"{field}.item_id", f"must have 1 to {MAX_ID_BYTES} bytes, none of them NUL")
        return ItemKey(ref.item_type, ref.item_id)

    def _decoding(self, params: pb.DecodingParams) -> Decoding:
        """Unset fields take the defaults; 0 is a value where it means something."""
        limits, default = self._limits, Decoding()

        def given(name: str, fallback: Any) -> Any:
            return getattr(params, name) if params.HasField(name) else fallback

        temperature, top_p = given("temperature", default.temperature), given("top_p", default.top_p)
        beam, tokens = given("beam_width", default.beam_width), given("max_output_tokens", limits.max_output_tokens)
        items = given("max_items", min(default.max_items, limits.max_items))
        self._check(0 <= temperature <= 10, "decoding.temperature", "must be between 0 and 10")
        self._check(0 < top_p <= 1, "decoding.top_p", "must be above 0 and at most 1")
        self._check(1 <= beam <= limits.max_beam_width, "decoding.beam_width", f"must be 1 to {limits.max_beam_width}")
        self._check(
            1 <= tokens <= limits.max_output_tokens,
            "decoding.max_output_tokens",
            f"must be 1 to {limits.max_output_tokens}",
        )
        self._most("decoding.max_items", items, limits.max_items)
        self._most("decoding.stop_sequences", len(params.stop_sequences), MAX_STOP_SEQUENCES)
        self._check(all(params.stop_sequences), "decoding.stop_sequences", "holds an empty text")
        longest = max(map(len, params.stop_sequences), default=0)
        self._most("decoding.stop_sequences", longest, MAX_STOP_CHARS, " characters")
        seed = params.seed if params.HasField("seed") else None
        stops = tuple(params.stop_sequences)
        return Decoding(tokens, items, temperature, top_p, given("top_k", default.top_k), seed, stops, beam)

    def _known_type(self, field: str, name: str) -> None:
        self._check(name in self._types, field, f"{name!r} is not one of {', '.join(sorted(self._types))}")

    def _most(self, field: str, value: int, limit: int, unit: str = "") -> None:
        self._check(value <= limit, field, f"is {value}{unit}, over the limit of {limit}")

    def _check(self, holds: bool, field: str, description: str) -> None:
        if not holds:
            self._wrong(field, description)

    def _wrong(self, field: str, description: str) -> None:
        self._violations.append(FieldViolation(field, description))

    def _refuse(self) -> None:
        if self._violations:
            filters_alone = all(violation.field.startswith(_FILTER_FIELDS) for violation in self._violations)
            raise InvalidRequestError(self._violations, reason=BAD_FILTER if filters_alone else None)


def _says(part: Part) -> bool:
    return isinstance(part, ItemKey) or bool(part.strip())
