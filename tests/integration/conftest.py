"""One worker process over a live tiny catalog, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.client import NeoClient
from tests.kit import processes, tiny


@dataclass
class Served:
    """A worker in another process, and the writer of its catalog in this one."""

    address: str
    catalog: Catalog
    client: NeoClient


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("served")
    catalog = tiny.catalog(folder / "catalog", 20)
    tiny.model().save(folder / "model")
    with (
        processes.serving(folder / "catalog", folder / "model", folder, max_queued="8") as address,
        NeoClient(address) as client,
    ):
        yield Served(address, catalog, client)
    catalog.close()
