"""How much of an LMDB environment is in use, as a value, and as Prometheus gauges that are measured when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from neo_runtime.observability.metrics import CATALOG_USAGE

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Usage:
    """`used_bytes` is the file's part of the map, with `free_bytes` in it that the next commits use first."""

    map_bytes: int
    used_bytes: int
    free_bytes: int
    disk_free_bytes: int
    readers: int
    max_readers: int
    oldest_reader_commits: int
    """Commits since the oldest open read transaction began: what they freed cannot be used again before it ends."""

    @property
    def headroom_bytes(self) -> int:
        return self.map_bytes - self.used_bytes


class UsageCollector(Collector):
    """Gauges of whatever `measure` gives at the moment of a scrape. Register it once in a process."""

    def __init__(self, measure: Callable[[], Usage]) -> None:
        self._measure = measure

    def describe(self) -> list[Metric]:
        """Names without values: registering must not measure."""
        return [GaugeMetricFamily(name, about) for name, about in CATALOG_USAGE.values()]

    def collect(self) -> Iterator[Metric]:
        """See Collector. Nothing where the catalog is just being closed or replaced: a scrape must not fail for it."""
        try:
            usage = self._measure()
        except Exception as error:
            _log.debug("catalog not measured", error=str(error))
            return
        values = {**asdict(usage), "headroom_bytes": usage.headroom_bytes}
        for field, (name, about) in CATALOG_USAGE.items():
            yield GaugeMetricFamily(name, about, value=values[field])
