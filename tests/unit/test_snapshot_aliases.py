"""What aliases do when they move, who a canary draws, what a rollback means, and what may be pruned."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from neo_runtime.errors import ConflictError, NotFoundError, SnapshotError
from neo_runtime.snapshot import aliases
from neo_runtime.snapshot.aliases import EVENTS, KEPT_MOVES, Alias, Target
from neo_runtime.snapshot.manifest import MANIFEST, Manifest, check_name, decode_manifest
from neo_runtime.snapshot.snapshots import Snapshots
from neo_runtime.snapshot.store import LocalStore, SnapshotStore, staged_folder, sweep

A, B, C = Target("a", "1"), Target("b", "2"), Target("c", "3")
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def manifest(name: str, days_old: int) -> Manifest:
    return Manifest(
        format_version=1, name=name, catalog="default", catalog_id="0a1b2c3d", schema_version=1, generation=7,
        create_time=(NOW - timedelta(days=days_old)).isoformat(), commit_time_us=0, counts={}, codebooks={},
        offsets=[], files={}, runtime_version="0",
    )  # fmt: skip


def snapshots(root: Path, **days_old: int) -> Snapshots:
    """Manifests without files, under their names."""
    for name, days in days_old.items():
        (root / name).mkdir(parents=True)
        (root / name / MANIFEST).write_bytes(manifest(name, days).encode())
    return Snapshots(LocalStore(root))


def moved(*changes: aliases.Change) -> dict[str, Alias]:
    state: dict[str, Alias] = {}
    for change in changes:
        change(state)
    return state


def test_live_follows_events_until_a_snapshot_is_promoted_and_previous_is_what_was_left() -> None:
    assert moved(aliases.serve(A)) == {"live": Alias(A), "previous": Alias(EVENTS)}
    assert moved(aliases.serve(A), aliases.serve(B)) == {"live": Alias(B), "previous": Alias(A)}
    assert moved(aliases.serve(A), aliases.serve(EVENTS)) == {"live": Alias(EVENTS), "previous": Alias(A)}


def test_promoting_what_is_served_already_keeps_previous() -> None:
    assert moved(aliases.serve(A), aliases.serve(B), aliases.serve(B))["previous"] == Alias(A)


def test_a_canary_leaves_the_others_where_they_were_and_grows_to_all() -> None:
    state = moved(aliases.serve(A), aliases.serve(B, 0.25))
    assert state == {"live": Alias(B, 0.25, A), "previous": Alias(A)}
    aliases.serve(B, 0.5)(state)
    assert state["live"] == Alias(B, 0.5, A)
    aliases.serve(B)(state)
    assert state == {"live": Alias(B), "previous": Alias(A)}


def test_back_from_a_canary_the_tried_snapshot_is_the_previous_one() -> None:
    assert moved(aliases.serve(A), aliases.serve(B, 0.25), aliases.serve(A)) == {"live": Alias(A), "previous": Alias(B)}


def test_another_canary_leaves_the_others_on_the_stable_one() -> None:
    assert moved(aliases.serve(A), aliases.serve(B, 0.25), aliases.serve(C, 0.5))["live"] == Alias(C, 0.5, A)


def test_a_canary_of_what_all_serve_is_refused() -> None:
    with pytest.raises(SnapshotError, match="no canary"):
        moved(aliases.serve(A), aliases.serve(A, 0.5))


def test_a_growing_share_only_adds_workers_and_draws_about_as_many_as_it_says() -> None:
    workers = [f"worker-{number}" for number in range(2_000)]
    drawn = [{w for w in workers if Alias(B, share, A).of(w) == B} for share in (0.1, 0.25, 0.5, 0.9, 1.0)]
    assert all(fewer < more for fewer, more in itertools.pairwise(drawn))
    assert [len(one) / len(workers) for one in drawn] == pytest.approx([0.1, 0.25, 0.5, 0.9, 1.0], abs=0.04)
    other = {w for w in workers if Alias(C, 0.5, A).of(w) == C}
    assert 0.4 < len(other & drawn[2]) / len(other) < 0.6, "another snapshot draws anew"


def test_of_two_who_looked_at_the_same_state_one_is_refused(tmp_path: Path) -> None:
    known = snapshots(tmp_path).aliases
    seen = known.read()
    known.move(aliases.serve(A), expected=seen.sequence)
    with pytest.raises(ConflictError, match="live to a"):
        known.move(aliases.serve(B), expected=seen.sequence)
    assert (known.read().sequence, known.read().live) == (1, Alias(A))


def test_moves_are_numbered_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    known = snapshots(tmp_path).aliases
    for number in range(KEPT_MOVES + 5):
        known.move(aliases.serve(A if number % 2 else B))
    assert known.read().sequence == KEPT_MOVES + 5
    history = known.history(KEPT_MOVES + 5)
    assert [one.sequence for one in history] == list(range(KEPT_MOVES + 5, 5, -1))
    assert {one.moved for one in history} == {"live to a", "live to b"}
    assert not [path for path in (tmp_path / "aliases").iterdir() if not path.name.endswith(".json")]


def test_rules_names_cannot_be_given_away() -> None:
    for name in ("live", "previous", "", ".hidden", "a/b", "a b", "x" * 101, "-"):
        with pytest.raises(SnapshotError, match="cannot name"):
            check_name(name)
    with pytest.raises(SnapshotError, match="cannot name"):
        moved(aliases.forget("live"))
    assert check_name("20260101T000000Z-g12") == "20260101T000000Z-g12"


def test_own_aliases_come_and_go() -> None:
    state = moved(aliases.name_alias("stable", A))
    assert state == {"stable": Alias(A)}
    aliases.forget("stable")(state)
    assert state == {}
    with pytest.raises(SnapshotError, match="no alias"):
        aliases.forget("stable")(state)


def test_a_rollback_without_a_name(tmp_path: Path) -> None:
    found = snapshots(tmp_path, old=3, middle=2, new=1)
    old, middle, new = (found.named(name).target for name in ("old", "middle", "new"))
    assert found.before(found.aliases.read()) == new, "from the live catalog: to the newest snapshot"
    assert found.before(found.aliases.move(aliases.serve(old))) == EVENTS, "from a promotion: to what was before"
    assert found.before(found.aliases.move(aliases.serve(new))) == old
    assert found.before(found.aliases.move(aliases.serve(middle, 0.5))) == new, "from a canary: all to the stable one"
    assert found.before(found.aliases.move(aliases.serve(EVENTS))) == new


def test_a_rollback_with_nothing_to_go_back_to(tmp_path: Path) -> None:
    found = snapshots(tmp_path)
    with pytest.raises(SnapshotError, match="neo snapshot create"):
        found.rollback("", found.aliases.read())


def test_what_a_promotion_refuses(tmp_path: Path) -> None:
    found = snapshots(tmp_path, a=1)
    state = found.aliases.read()
    with pytest.raises(NotFoundError):
        found.promotion("nothing", state)
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(SnapshotError, match="share"):
            found.promotion("a", state, share=share)
    for name, share in (("live", 1.0), ("a", 0.5)):
        with pytest.raises(SnapshotError, match="is not live"):
            found.promotion(name, state, "stable", share)


def test_a_manifest_that_changed_since_it_was_promoted_is_not_served(tmp_path: Path) -> None:
    found = snapshots(tmp_path, a=1)
    target = found.named("a").target
    (tmp_path / "a" / MANIFEST).write_bytes(manifest("a", 2).encode())
    with pytest.raises(SnapshotError, match="not the one that was promoted"):
        found.pinned(target)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"format_version": 1}', "cannot be read"),
        (b'{"format_version": 2}', "format 2"),
        (manifest("other", 1).encode(), "is of snapshot other"),
        (manifest("a", 1).encode().replace(b'"files": {}', b'"files": {"../x": {"size": 1, "sha256": ""}}'), "outside"),
        (manifest("a", 1).encode().replace(b'"files": {}', b'"files": {"/x": {"size": 1, "sha256": ""}}'), "outside"),
    ],
)
def test_manifests_that_cannot_be_used(content: bytes, said: str) -> None:
    with pytest.raises(SnapshotError, match=said):
        decode_manifest(content, "a")


def test_an_unreadable_snapshot_does_not_hide_the_others(tmp_path: Path) -> None:
    found = snapshots(tmp_path, a=2, b=1)
    (tmp_path / "a" / MANIFEST).write_text("{")
    names, broken = found.all()
    assert ([one.manifest.name for one in names], list(broken)) == (["b"], ["a"])


def test_pruning_keeps_the_newest_the_young_and_what_an_alias_names(tmp_path: Path) -> None:
    found = snapshots(tmp_path, a=9, b=8, c=7, d=2, e=1)
    found.aliases.move(aliases.serve(found.named("a").target))
    found.aliases.move(aliases.name_alias("stable", found.named("b").target))
    rows = found.prunable(keep=1, younger_than=timedelta(days=3), now=NOW)
    assert {one.manifest.name: why for one, why in rows} == {
        "e": "one of the 1 newest", "d": "young", "c": "", "b": "alias stable", "a": "alias live",
    }  # fmt: skip
    assert found.prune([one for one, why in rows if not why], lambda done, total: None) == ["c"]
    assert [one.manifest.name for one in found.all()[0]] == ["e", "d", "b", "a"]
    assert not list(tmp_path.glob(".*"))


def test_a_snapshot_that_an_alias_came_to_name_meanwhile_is_not_pruned(tmp_path: Path) -> None:
    found = snapshots(tmp_path, a=9)
    going = [one for one, why in found.prunable(keep=0, younger_than=None) if not why]
    found.aliases.move(aliases.serve(going[0].target, 1.0))
    assert found.prune(going, lambda done, total: None) == []


def test_the_rest_of_a_canary_is_not_pruned(tmp_path: Path) -> None:
    found = snapshots(tmp_path, a=9, b=8)
    for name, share in (("a", 1.0), ("b", 0.5)):
        found.aliases.move(aliases.serve(found.named(name).target, share))
    found.aliases.move(aliases.name_alias("x", found.named("b").target))
    assert all(why for _, why in found.prunable(keep=0, younger_than=None))


def test_a_folder_at_work_is_not_swept_and_a_left_one_is(tmp_path: Path) -> None:
    left = tmp_path / ".staged-left"
    (left / "deep").mkdir(parents=True)
    with staged_folder(tmp_path) as folder:
        assert not left.exists(), "a new one removes what a crash left"
        sweep(tmp_path)
        assert folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_local_and_remote_stores_take_a_number_once(tmp_path: Path) -> None:
    from neo_runtime.snapshot.remote import RemoteStore

    stores: list[SnapshotStore] = [LocalStore(tmp_path / "l"), RemoteStore(f"memory://{tmp_path}/m")]
    for store in stores:
        assert store.alias_numbers() == []
        assert [store.add_alias(1, b"x"), store.add_alias(1, b"y"), store.add_alias(2, b"z")] == [True, False, True]
        assert (store.alias_numbers(), store.alias(1)) == ([1, 2], b"x")
        store.remove_alias(1)
        assert store.alias_numbers() == [2]


def test_an_alias_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    found = snapshots(tmp_path)
    found.store.add_alias(1, b"[1, 2]")
    with pytest.raises(SnapshotError, match="move 1"):
        found.aliases.read()
    assert msgspec.json.decode(found.store.alias(1)) == [1, 2]
