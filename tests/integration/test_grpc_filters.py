"""Filters, named filters, regions and availability of a real worker process, exact while the catalog changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.catalog.item import Availability, Upsert
from neo_runtime.client import CallError, NeoClient, rank_request
from neo_runtime.trie.predicate_json import from_json
from neo_runtime.trie.windows import Window
from neo_runtime.types import ItemKey
from tests.integration.conftest import Served
from tests.kit import processes, tiny

OLD = {"must": [{"attribute": "year", "range": {"less": 2005}}]}
HOUR_US = 3_600_000_000
FILMS = 20


def film(number: int, **attributes: object) -> Upsert:
    upsert = tiny.upsert(f"film/f{number}")
    return replace(
        upsert, attributes={"year": 2000 + number, "genres": ["war", "love"][: 1 + number % 2], **attributes}
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("served")
    catalog = Catalog.create(folder / "catalog", tiny.codebooks(), named=(from_json(OLD),))
    catalog.apply([film(number) for number in range(FILMS)])
    catalog.compact()
    tiny.model().save(folder / "model")
    with (
        processes.serving(
            folder / "catalog", folder / "model", folder, filters=json.dumps({"old": OLD}), max_queued="8"
        ) as address,
        NeoClient(address) as client,
    ):
        yield Served(address, catalog, client)
    catalog.close()


def ranked(served: Served, **wanted: object) -> set[int]:
    """Numbers of the films in a list that is long enough for all."""
    answer = served.client.rank(rank_request("film", limit=100, **wanted))  # type: ignore[arg-type]
    assert answer.generation == served.catalog.reader.view().generation
    return {int(row.item.key.id[1:]) for row in answer.results}


def test_a_beam_as_wide_as_the_allowed_set_returns_exactly_it(served: Served) -> None:
    wars = {
        "must": [{"attribute": "genres", "equals": "love"}, {"attribute": "year", "range": {"greaterOrEqual": 2010}}]
    }
    assert ranked(served, where=wars) == {11, 13, 15, 17, 19}
    assert ranked(served, named_filters=["old"]) == set(range(5))
    allow = [ItemKey("film", f"f{number}") for number in (1, 2, 3, 12)]
    deny = [ItemKey("film", "f3")]
    assert ranked(served, named_filters=["old"], allow=allow, deny=deny, where=from_json({"must": []})) == {1, 2}


def test_a_change_of_attributes_alone_is_seen_by_the_next_request(served: Served) -> None:
    served.catalog.apply([film(0, year=2020, genres=["new"])])
    assert ranked(served, named_filters=["old"]) == {1, 2, 3, 4}
    assert ranked(served, where={"must": [{"attribute": "genres", "equals": "new"}]}) == {0}
    served.catalog.apply([film(0)])
    assert ranked(served, named_filters=["old"]) == {0, 1, 2, 3, 4}


def test_windows_and_regions_come_before_every_filter_and_open_by_the_clock(served: Served) -> None:
    now_us = time.time_ns() // 1_000
    opens_us = now_us + 2_000_000
    windows = {
        1: (Window(now_us - HOUR_US, now_us + HOUR_US),),
        2: (Window(None, None, ("at", "de")),),
        3: (Window(now_us - 2 * HOUR_US, now_us - HOUR_US),),
        4: (),
        5: (Window(opens_us, None),),
    }
    served.catalog.apply([
        Availability(ItemKey("film", f"f{number}"), 1, found, False, tiny.raw()) for number, found in windows.items()
    ])  # fmt: skip
    everything = set(range(FILMS))
    seen = ranked(served)
    assert seen - {5} == everything - {2, 3, 4, 5}
    assert ranked(served, region="at") - {5} == everything - {3, 4, 5}
    assert ranked(served, region="fr") - {5} == everything - {2, 3, 4, 5}
    assert ranked(served, region="de", named_filters=["old"]) == {0, 1, 2}
    served.catalog.compact()
    assert ranked(served, region="de", named_filters=["old"]) == {0, 1, 2}
    time.sleep(max(0.0, (opens_us - time.time_ns() // 1_000) / 1e6))
    assert 5 in ranked(served), "no event said so: the clock did"
    served.catalog.apply([Availability(ItemKey("film", f"f{n}"), 2, None, True, tiny.raw()) for n in windows])
    assert ranked(served) == everything


def test_constraints_that_leave_nothing_are_refused_with_their_reason(served: Served) -> None:
    with pytest.raises(CallError) as refused:
        ranked(served, where={"must": [{"attribute": "no such attribute", "exists": True}]})
    assert refused.value.reason == "NO_ELIGIBLE_ITEM"
    with pytest.raises(CallError) as refused:
        ranked(served, named_filters=["new"])
    assert refused.value.reason == "BAD_FILTER"
    assert "known are old" in str(refused.value)
