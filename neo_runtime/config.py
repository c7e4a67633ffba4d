"""Every setting of every process, typed, in one place.

Command line over `NEO_*` variables over `neo.toml` over defaults.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

CONFIG_FILE_VARIABLE = "NEO_CONFIG"
DEFAULT_ADDRESS = "127.0.0.1:50051"
DEMO_CATALOG = Path(__file__).parent / "demo" / "catalog"
DEMO_MODEL = Path(__file__).parent / "demo" / "model"


class Settings(BaseSettings):
    """`NEO_CONFIG` names the TOML file; `neo.toml` in the working folder where it is not set."""

    model_config = SettingsConfigDict(env_prefix="NEO_", extra="forbid", protected_namespaces=())

    catalog: Path = Field(Path(".neo/catalog"), description="Folder of the catalog")
    snapshots: str = Field("", description="Folder or fsspec URL of the snapshots; empty: in the catalog's folder")
    model: Path = Field(DEMO_MODEL, description="Folder of the model; unset: the demo model")
    embedder: str = Field("", description="Embedder of the catalog worker; empty: the one that the model came with")
    durable: bool = Field(
        False, description="Sync LMDB's meta page on every commit: slower, survives a power cut whole"
    )

    map_size_gb: float = Field(
        64.0, gt=0, description="Address space that the catalog's writer begins with; it grows by itself"
    )

    address: str = Field(DEFAULT_ADDRESS, description="Address that clients call")
    listen: str = Field(
        DEFAULT_ADDRESS, description="Address that the generation worker listens on; port 0: a free one"
    )
    instance: str = Field("", description="This worker's name, that a canary is drawn by; empty: a new one each start")
    device: str = Field("cpu", description="Device of the model, as torch names it")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto", description="Type of the model's weights; auto: float32, or bfloat16 where it is measured to be faster"
    )
    gate: Path | None = Field(
        None, description="Recorded evaluation that int8 must pass; none: evaluation.jsonl in the model's folder"
    )
    gate_min_overlap: float = Field(
        0.9, ge=0, le=1, description="Part of the first 30 items that int8 must share with the model as it was"
    )
    gate_max_hit_loss: float = Field(
        0.02, ge=0, le=1, description="Part of the hits among the first 10 items that int8 may lose"
    )
    torch_threads: int = Field(0, ge=0, description="Threads of torch; 0: all cores but one")
    normalization: Literal["learned", "level", "vocabulary"] = Field(
        "learned", description="What code scores are relative to: as the model was trained"
    )
    max_beam_width: int = Field(512, ge=1, le=4_096, description="Widest beam and longest ranked list")
    max_output_tokens: int = Field(1_024, ge=1, description="Text tokens of one answer at most")
    max_items: int = Field(64, ge=1, description="Item spans of one answer at most")
    filters: dict[str, dict[str, Any]] = Field(
        {},
        description="Filters by name, for requests to name, each as must, should and must_not in a filter's JSON form",
    )
    engines: int = Field(1, ge=1, description="Processes with the model, each with its memory")
    max_running: int = Field(32, ge=1, description="Requests that share the model's passes, in each engine")
    kv_cache_gb: float = Field(
        0.0,
        ge=0,
        description="Memory for keys and values of what runs, in each engine; 0: half of the machine's",
    )
    prefix_cache_mb: int = Field(
        512, ge=0, description="Memory for what prompts began with, so that it is not computed again; 0: none"
    )
    max_queued: int = Field(256, ge=1, description="Requests that wait; further ones are refused")
    max_backlog_seconds: float = Field(
        30.0, gt=0, description="Work that runs or waits, as long as it takes at the measured pace; more is refused"
    )
    max_seconds: float = Field(120.0, gt=0, description="Longest time of one call")
    drain_seconds: float = Field(20.0, ge=0, description="Time that running streams get after SIGTERM")

    kafka_bootstrap: str = Field("", description="Kafka brokers, host:port, comma-separated")
    items_topic: str = Field("neo.catalog.items", description="Topic that item events are read from")
    embedded_topic: str = Field(
        "neo.catalog.items.embedded", description="Topic that the embedding stage writes item events with embeddings to"
    )
    max_embedding_batch: int = Field(256, ge=1, description="Records that the embedding stage embeds at once at most")
    availability_topic: str = Field(
        "neo.catalog.availability", description="Topic that says when and where items may be shown"
    )
    assignments_topic: str = Field("neo.catalog.assignments", description="Topic that assigned semantic IDs go to")
    role: Literal["assigner", "replica"] = Field(
        "assigner", description="Assign semantic IDs, or stand by for it; or follow what an assigner publishes"
    )
    session_seconds: float = Field(10.0, ge=1, description="A standby takes over from an assigner silent for so long")
    keep_deleted_seconds: float = Field(7 * 86_400.0, ge=0, description="How long a deletion is remembered")
    partitions: int = Field(8, ge=1, description="Partitions of a topic that has to be created")
    max_batch: int = Field(1_000, ge=1, description="Events applied in one transaction at most")

    metrics_port: int = Field(0, ge=0, le=65_535, description="Port of the Prometheus endpoint; 0: none")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get(CONFIG_FILE_VARIABLE, "neo.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)
