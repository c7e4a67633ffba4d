"""Every metric that a worker exports. Names are part of the interface: they change only with a changelog entry."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("neo_requests", "Calls by their final status.", ["rpc", "code"])
REQUEST_SECONDS = Histogram("neo_request_duration_seconds", "Whole calls, streams included.", ["rpc"])
FIRST_EVENT_SECONDS = Histogram(
    "neo_time_to_first_item_or_text_seconds", "From the call to its first content.", ["rpc"]
)
ITEMS_EMITTED = Counter("neo_items_emitted", "Items named in answers.", ["item_type"])
SERVED_GENERATION = Gauge("neo_trie_generation", "Newest catalog generation that a request was served from.")
EVENTS_APPLIED = Counter("neo_events_applied", "Item events by what they did.", ["outcome"])
CATALOG_GENERATION = Gauge("neo_catalog_generation", "Newest generation that this worker committed.")
SERVED_SNAPSHOT = Gauge("neo_catalog_snapshot_info", "1 for the snapshot or live catalog that is served.", ["snapshot"])
ALIAS_SEQUENCE = Gauge("neo_catalog_alias_sequence", "Newest move of the aliases that this worker serves.")
SWAPS = Counter("neo_catalog_swaps", "Swaps of what is served, and refused ones.", ["result"])
SWAP_SECONDS = Histogram(
    "neo_catalog_swap_seconds", "The swap itself, after opening.", buckets=(1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 1)
)
FILTER_SECONDS = Histogram(
    "neo_filter_evaluation_seconds", "A predicate over all items of a base segment, once for each of both.",
    buckets=(1e-4, 1e-3, 0.01, 0.1, 1, 10),
)  # fmt: skip
CATALOG_WRITABLE = Gauge("neo_catalog_writable", "0 while the disk or LMDB's map is full and the catalog worker waits.")
SLOW_READS = Counter("neo_catalog_slow_reads", "Read transactions that were open for over a second.", ["place"])
CATALOG_USAGE = {  # catalog.usage.Usage, measured at each scrape
    "map_bytes": ("neo_catalog_map_bytes", "Address space of the catalog's LMDB file; it grows by itself."),
    "used_bytes": ("neo_catalog_used_bytes", "Part of the map that the file takes."),
    "headroom_bytes": ("neo_catalog_headroom_bytes", "Part of the map that is left."),
    "free_bytes": ("neo_catalog_free_bytes", "Pages inside the file that the next commits use again."),
    "disk_free_bytes": ("neo_catalog_disk_free_bytes", "Left on the disk of the catalog."),
    "readers": ("neo_catalog_readers", "Open read transactions, of all processes."),
    "max_readers": ("neo_catalog_max_readers", "Open read transactions at most."),
    "oldest_reader_commits": ("neo_catalog_oldest_reader_commits", "Commits since the oldest of them began."),
}
