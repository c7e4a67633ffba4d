"""Every metric that a worker exports. Names are part of the interface: they change only with a changelog entry."""

from __future__ import annotations

from prometheus_client import Counter, Enum, Gauge, Histogram

REQUESTS = Counter("neo_requests", "Calls by their final status.", ["rpc", "code"])
REQUEST_SECONDS = Histogram("neo_request_duration_seconds", "Whole calls, streams included.", ["rpc"])
FIRST_EVENT_SECONDS = Histogram(
    "neo_time_to_first_item_or_text_seconds", "From the call to its first content.", ["rpc"]
)
ITEMS_EMITTED = Counter("neo_items_emitted", "Items named in answers.", ["item_type"])
PREFIX_CACHE_BYTES = Gauge("neo_prefix_cache_bytes", "What is remembered of prompts, as of the newest answer.")
PREFIX_CACHE_ASKED_TOKENS = Counter("neo_prefix_cache_asked_tokens", "Prompt tokens of answers.")
PREFIX_CACHE_HIT_TOKENS = Counter("neo_prefix_cache_hit_tokens", "Those of them that were remembered.")
SERVED_GENERATION = Gauge("neo_trie_generation", "Newest catalog generation that a request was served from.")
EVENTS_APPLIED = Counter("neo_events_applied", "Item events by what they did.", ["outcome"])
CATALOG_GENERATION = Gauge("neo_catalog_generation", "Newest generation that this worker committed.")
CATALOG_ROLE = Enum("neo_catalog_role", "What this catalog worker does.", states=["assigner", "standby", "replica"])
INGEST_LAG = Gauge(
    "neo_ingest_lag_records", "Records in the log that are not applied, or not passed on.", ["topic", "partition"]
)
INGEST_DELAY_SECONDS = Gauge(
    "neo_ingest_delay_seconds", "From the time of the newest batch's oldest record to its commit; 0 where none waits."
)
BATCH_RECORDS = Histogram(
    "neo_ingest_batch_records", "Records applied in one transaction.", buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000)
)
BATCH_SECONDS = Histogram(
    "neo_ingest_batch_seconds", "From decoding a batch to its commit.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 3),
)  # fmt: skip
EMBEDDED_EVENTS = Counter("neo_embedded_events", "Item events of the embedding stage.", ["outcome"])
EMBEDDING_BATCH = Histogram(
    "neo_embedding_batch_records",
    "Records embedded and passed on in one transaction.",
    buckets=(1, 3, 10, 30, 100, 300),
)
DEAD_LETTERS = Gauge("neo_dead_letters", "Records refused since the catalog was made.", ["reason"])
OUTBOX_RECORDS = Gauge("neo_outbox_records", "Records that wait until Kafka has them.")
RECORDS_PUBLISHED = Gauge("neo_outbox_published_records", "Records that Kafka has got since this worker started.")
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
