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
