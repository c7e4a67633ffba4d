"""The process that keeps a catalog: from Kafka, or without a broker from the catalog's own event file."""

from __future__ import annotations

import signal
import threading

import structlog
from prometheus_client import REGISTRY, start_http_server
from threadpoolctl import threadpool_limits

from neo_runtime import heap
from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.usage import UsageCollector
from neo_runtime.config import Settings
from neo_runtime.ingest import eventfile
from neo_runtime.ingest.catalogs import open_or_create
from neo_runtime.ingest.follow import follow_file, follow_kafka
from neo_runtime.trie.step import warm_up_changes

_log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; the batch in hand is finished. StartupError where catalog or topics do not allow it."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    catalog = open_or_create(settings)
    warm_up_changes()
    try:
        if settings.metrics_port:
            REGISTRY.register(UsageCollector(catalog.store.usage))
            start_http_server(settings.metrics_port)
        heap.settle()
        with threadpool_limits(1, "blas"):  # a batch's products are small: more threads would only spin
            _follow(catalog, settings, stop)
        _log.info("stopped", generation=catalog.reader.view().generation)
    finally:
        catalog.close()


def _follow(catalog: Catalog, settings: Settings, stop: threading.Event) -> None:
    def ready(source: str) -> None:
        _log.info("ready", catalog=str(settings.catalog), source=source, generation=catalog.reader.view().generation)

    if settings.kafka_bootstrap:
        topic = settings.items_topic if settings.role == "assigner" else settings.assignments_topic
        follow_kafka(catalog, stop, settings, lambda: ready(f"{topic} at {settings.kafka_bootstrap}"))
    else:
        path = settings.catalog / eventfile.NAME
        ready(str(path))
        follow_file(catalog, stop, path, max_batch=settings.max_batch, keep_deleted_s=settings.keep_deleted_seconds)
