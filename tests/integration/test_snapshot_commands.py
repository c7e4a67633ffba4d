"""`neo snapshot …` as an operator and as a script use it: what it says, what it asks, what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neo_runtime.catalog.catalog import Catalog
from neo_runtime.snapshot.manifest import MANIFEST
from tests.kit import processes, tiny
from tests.kit.snapshots import flip, inside, overwrite


class Operator:
    """Types commands; knows what lies in the folder."""

    def __init__(self, folder: Path) -> None:
        self.catalog, self.root = folder / "catalog", folder / "catalog" / "snapshots"
        tiny.catalog(self.catalog, 20).close()

    def types(self, *arguments: str, stdin: str | None = None, code: int = 0) -> str:
        """What is printed, errors included."""
        done = processes.neo("snapshot", *arguments, env={"NEO_CATALOG": str(self.catalog)}, stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return " ".join((done.stdout + done.stderr).split())

    def json(self, *arguments: str, code: int = 0) -> Any:
        """One document on standard output and nothing else."""
        done = processes.neo("snapshot", *arguments, "--json", env={"NEO_CATALOG": str(self.catalog)})
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def change(self) -> None:
        """One film added, one removed, one book moved."""
        catalog = Catalog.open(self.catalog)
        changes = [tiny.upsert("film/new", time=9), tiny.delete("film/f3", time=9)]
        catalog.apply([*changes, tiny.upsert("book/b2", time=9, version=1)])
        catalog.close()

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


CHANGED = {
    "artist": (20, 20, 0, 0, 0), "book": (20, 20, 0, 0, 1), "film": (20, 20, 1, 1, 0),
}  # fmt: skip


def numbers(types: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(t[k] for k in ("before", "after", "added", "removed", "moved")) for n, t in types.items()}


def test_create_show_list_and_verify(operator: Operator) -> None:
    would = operator.json("create", "--dry-run")["would_create"]
    assert (would["generation"], would["items"], operator.root.exists()) == (1, 60, False)
    made = operator.json("create", "--name", "a", "--label", "why=sale", "--label", "by=me")
    assert (made["name"], made["generation"], made["labels"]) == ("a", 1, {"why": "sale", "by": "me"})
    assert "already" in operator.types("create", "--name", "a", code=1)
    assert "cannot name" in operator.types("create", "--name", "../b", code=1)
    listed = operator.json("list")
    assert [one["name"] for one in listed["snapshots"]] == ["a"]
    shown = operator.json("show", "a")
    assert shown["counts"]["film"] == {"items": 20, "semantic_ids": 20, "colliding_items": 0}
    assert "why=sale" in operator.types("list")
    assert "60" in operator.types("show", "a") or "20" in operator.types("show", "a")
    assert operator.json("verify", "a") == {"name": "a", "whole": True, "problems": []}
    assert "a is whole" in operator.types("verify", "a", "--quick")
    flip(operator.root / "a" / "data.mdb", 0.5)
    found = operator.json("verify", "a", code=1)
    assert (found["whole"], found["problems"]) == (
        False, ["data.mdb does not have the checksum that the manifest names"],
    )  # fmt: skip
    assert "damaged" in operator.types("promote", "a", "--yes", code=1)
    overwrite(operator.root / "a" / MANIFEST, b"{")
    assert list(operator.json("list")["unreadable"]) == ["a"]
    assert "manifest of snapshot a cannot be read" in operator.types("list")


def test_promote_and_rollback_show_what_will_change_and_ask(operator: Operator) -> None:
    operator.types("create", "--name", "a")
    operator.change()
    assert numbers(operator.json("diff", "a")["types"]) == CHANGED
    asked = operator.types("promote", "a", stdin="n\n")
    for words in ("from the live catalog to a", "added: film/f3", "removed: film/new", "moved: book/b2", "would move"):
        assert words in asked
    assert operator.json("aliases")["sequence"] == 0
    planned = operator.json("promote", "a", "--dry-run")
    assert (numbers(planned["types"]), planned["aliases"]["sequence"]) == (CHANGED, 0)
    assert "add --yes" in operator.types("promote", "a", "--json", code=1)
    assert "moved live to a (move 1)" in operator.types("promote", "a", stdin="y\n")
    assert "a is what is there already" in operator.types("promote", "a", "--dry-run")
    assert "pinned" in operator.types("list")
    back = operator.json("rollback", "--dry-run")
    assert back["result"] == "would move live to the live catalog"
    assert operator.json("rollback", "--yes")["aliases"]["sequence"] == 2
    assert operator.json("rollback", "--yes")["aliases"]["aliases"]["live"]["snapshot"] == "a"
    live = operator.json("promote", "live", "--yes")["aliases"]["aliases"]["live"]
    assert (live["snapshot"], live["follows_events"]) == ("", True)
    assert "not found" in operator.types("promote", "nothing", "--yes", code=1)
    assert "share" in operator.types("promote", "a", "--share", "0", "--yes", code=1)
    canary = operator.json("promote", "a", "--share", "0.25", "--yes")["aliases"]["aliases"]["live"]
    assert (canary["snapshot"], canary["share"], canary["rest"]) == ("a", 0.25, "")
    assert "a by a share of 0.25, the live catalog by the others" in operator.types("list")


def test_a_worker_that_does_not_answer_is_named(operator: Operator) -> None:
    operator.types("create", "--name", "a")
    nobody = f"127.0.0.1:{processes.free_port()}"
    late = operator.json("promote", "a", "--yes", "--wait", "0.5", "--worker", nobody, code=1)
    assert (list(late["late"]), late["aliases"]["sequence"]) == ([nobody], 1)


def test_own_aliases(operator: Operator) -> None:
    operator.types("create", "--name", "a")
    operator.types("promote", "a", "--alias", "stable", "--yes")
    listed = operator.json("aliases")
    assert listed["aliases"]["stable"]["snapshot"] == "a"
    assert [move["moved"] for move in listed["moves"]] == ["stable to a"]
    assert operator.json("show", "stable")["name"] == "a"
    assert "it is no snapshot" in operator.types("show", "live", code=1)
    assert "stable removed" in operator.types("aliases", "--remove", "stable", "--dry-run")
    assert "stable" in operator.json("aliases")["aliases"]
    assert "stable" not in operator.json("aliases", "--remove", "stable")["aliases"]
    assert "no alias" in operator.types("aliases", "--remove", "stable", code=1)


def test_prune_asks_and_keeps_what_an_alias_names(operator: Operator) -> None:
    for name in ("a", "b", "c"):
        operator.types("create", "--name", name)
    operator.types("promote", "a", "--yes")
    before = operator.files()
    planned = operator.json("prune", "--keep", "1", "--dry-run")
    assert (planned["prunable"], planned["removed"]) == (["b"], [])
    assert planned["kept"] == {"c": "one of the 1 newest", "a": "alias live"}
    assert "nothing removed" in operator.types("prune", "--keep", "1", stdin="n\n")
    assert operator.json("prune", "--keep", "1", "--days", "1", "--yes")["removed"] == []
    assert operator.files() == before
    assert operator.json("prune", "--keep", "1", "--yes")["removed"] == ["b"]
    assert {name.split("/")[0] for name in operator.files()} == {"a", "c", "aliases"}


def test_restore_shows_what_will_change_and_asks(operator: Operator, tmp_path: Path) -> None:
    operator.types("create", "--name", "a")
    operator.change()
    assert "use --replace" in operator.types("restore", "a", code=1)
    planned = operator.json("restore", "a", "--replace", "--dry-run")
    assert (planned["restored"], numbers(planned["types"])) == (False, CHANGED)
    assert "nothing restored" in operator.types("restore", "a", "--replace", stdin="n\n")
    assert inside(operator.catalog)[0] == 2
    assert "catches up from there" in operator.types("restore", "a", "--replace", stdin="y\n")
    assert inside(operator.catalog) == inside(operator.root / "a")
    elsewhere = operator.json(
        "restore", "a", "--catalog", str(tmp_path / "new"), "--snapshots", str(operator.root), "-y"
    )
    assert (elsewhere["restored"], elsewhere["catalog"]) == (True, str(tmp_path / "new"))
    assert inside(tmp_path / "new") == inside(operator.root / "a")


def test_a_damaged_catalog_can_be_replaced(operator: Operator) -> None:
    operator.types("create", "--name", "a")
    (operator.catalog / "data.mdb").write_bytes(b"x" * 100)
    assert "cannot be compared" in operator.types("restore", "a", "--replace", stdin="y\n")
    assert inside(operator.catalog) == inside(operator.root / "a")


def test_snapshots_on_a_store_by_url(operator: Operator, tmp_path: Path) -> None:
    url = ("--snapshots", f"local://{tmp_path}/far")
    operator.types("create", "--name", "a", *url)
    operator.change()
    assert operator.json("verify", "a", *url)["whole"]
    assert numbers(operator.json("promote", "a", "--dry-run", *url)["types"]) == CHANGED
    assert operator.json("promote", "a", "--yes", *url)["aliases"]["sequence"] == 1
    assert [one["aliases"] for one in operator.json("list", *url)["snapshots"]] == [["live"]]
    assert "cannot be reached" in operator.types("list", "--snapshots", "nonsense://x", code=1)
