"""The topics that a catalog needs, made where they are missing."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any, NamedTuple

import structlog
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from neo_runtime.errors import StartupError
from neo_runtime.ingest.broker import CLIENT_OPTIONS, dial, kafka_errors
from neo_runtime.ingest.outgoing import DEAD_LETTER_SUFFIX

DAY_MS = 86_400_000
# A reader that was away for longer than delete.retention.ms may never see a deletion.
COMPACTED = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}
DEAD_LETTERS = {"cleanup.policy": "delete", "retention.ms": str(14 * DAY_MS)}
SEAT_SUFFIX = ".seat"
"""A topic with nothing in it, whose only partition one assigner at a time has."""
SEAT = {"cleanup.policy": "compact"}
TWIN_MESSAGE_BYTES = 2 << 20  # an event that just fits its topic is longer with its embedding
MISSING, NO_ERROR, ALREADY_EXISTS = 3, 0, 36

_log = structlog.get_logger(__name__)


class Topics(NamedTuple):
    """Of one catalog."""

    items: str
    availability: str
    assignments: str

    @property
    def seat(self) -> str:
        return self.assignments + SEAT_SUFFIX


def ensure_topics(bootstrap: str, topics: Topics, *, partitions: int = 8) -> list[str]:
    """Make the topics, the assigners' seat and dead letters where missing; returns those made, leaves others alone.

    BrokerUnavailableError where nobody answers, StartupError where a topic cannot be made.
    """
    wanted: dict[str, dict[str, Any]] = {name: {"num_partitions": partitions, "configs": COMPACTED} for name in topics}
    for name in (topics.items, topics.availability):
        wanted[name + DEAD_LETTER_SUFFIX] = {"num_partitions": 1, "configs": DEAD_LETTERS}
    wanted[topics.seat] = {"num_partitions": 1, "configs": SEAT}
    dial(bootstrap)
    with kafka_errors(f"topics at {bootstrap}"), closing(_admin(bootstrap)) as admin:
        found = {topic["name"] for topic in admin.describe_topics(list(wanted)) if topic["error_code"] != MISSING}
        _warn_of_deletion(admin, sorted(found & set(topics)))
        missing = {name: options for name, options in wanted.items() if name not in found}
        return _create(admin, missing) if missing else []


def ensure_twin(bootstrap: str, source: str, target: str, *, partitions: int = 8) -> None:
    """`target` with as many partitions as `source`, both made where missing: a key's records stay in one order.

    BrokerUnavailableError where nobody answers, StartupError where a topic cannot be made or has other partitions.
    """
    dial(bootstrap)
    with kafka_errors(f"topics at {bootstrap}"), closing(_admin(bootstrap)) as admin:
        found = {
            topic["name"]: len(topic["partitions"])
            for topic in admin.describe_topics([source, target])
            if topic["error_code"] != MISSING
        }
        wanted = found.get(source, partitions)
        roomy = {**COMPACTED, "max.message.bytes": str(TWIN_MESSAGE_BYTES)}
        configs = {source: COMPACTED, target: roomy}
        missing = {name: {"num_partitions": wanted, "configs": configs[name]} for name in configs.keys() - found.keys()}
        if missing:
            _create(admin, missing)
    if found.get(target, wanted) != wanted:
        raise StartupError(
            f"topic {target!r} has {found[target]} partitions and {source!r} {wanted}; give both the same number"
        )


def _admin(bootstrap: str) -> Any:
    return KafkaAdminClient(bootstrap_servers=bootstrap, **CLIENT_OPTIONS)


def _create(admin: Any, missing: dict[str, dict[str, Any]]) -> list[str]:
    """The broker's default replication. Another worker may make the same topics at the same time."""
    result = admin.create_topics(missing, raise_errors=False)
    for topic in result["topics"]:
        if topic["error_code"] not in (NO_ERROR, ALREADY_EXISTS):
            problem = topic["error_message"] or f"error {topic['error_code']}"
            raise StartupError(f"topic {topic['name']!r} cannot be made ({problem}); have it made, then start again")
    admin.wait_for_topics(list(missing))
    _log.info("topics made", topics=sorted(missing))
    return sorted(missing)


def _warn_of_deletion(admin: Any, names: list[str]) -> None:
    """A topic that drops records by age ends up without items that nobody deleted."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, ["cleanup.policy"]) for name in names]
    with suppress(KafkaError):  # not everybody may ask
        described = admin.describe_configs(resources, config_filter="all") if resources else {}
        for name, options in described.get("topic", {}).items():
            policy = options["cleanup.policy"]["value"]
            if policy != "compact":
                _log.warning("topic forgets items: set cleanup.policy to compact", topic=name, policy=policy)
