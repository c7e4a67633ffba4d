"""`neo sids report` as a person and as a script use it, on the demo catalog's files."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.kit import processes, tiny

FILES = sorted(str(path) for path in (processes.ROOT / "neo_runtime" / "demo" / "catalog").glob("*.jsonl"))
WIDE = {"COLUMNS": "160"}


def report(*arguments: str, code: int = 0) -> str:
    done = processes.neo("sids", "report", *arguments, env=WIDE)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else " ".join((done.stdout + done.stderr).split())


def as_json(*arguments: str) -> Any:
    """One document on standard output and nothing else."""
    return json.loads(report(*arguments, "--json"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    done = processes.neo("catalog", "load", *FILES, "--catalog", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


class Loads(HTMLParser):
    """What a browser would fetch for a page: every address in it that is not a place within the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "data")
            and value
            and not value.startswith(("#", "data:"))
        ]


def test_a_catalog_is_reported_as_tables_page_and_picture(demo: Path, tmp_path: Path) -> None:
    shown = report("--catalog", str(demo), "--out", str(tmp_path / "out"))
    assert re.search(r"artist +450 ", shown)
    assert re.search(r"film +2 +32 ", shown), "the levels of each type"
    assert "book: all items have one event time: nothing to compare" in shown
    page = (tmp_path / "out" / "report.html").read_text()
    loads = Loads(page)
    assert loads.addresses == []
    assert not re.search(r"@import|url\((?!#)", page)
    assert {"svg", "table"} <= set(loads.tags)
    assert not {"script", "link", "img", "iframe"} & set(loads.tags)
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page, "letters and lines of the picture follow the page"
    assert (tmp_path / "out" / "report.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_script_gets_every_figure_and_the_same_from_the_files(demo: Path) -> None:
    of_catalog = as_json("--catalog", str(demo))
    assert [one["item_type"] for one in of_catalog["reports"]] == ["artist", "book", "film"]
    film = of_catalog["reports"][2]
    assert (film["items"], film["capacity"], film["level_sizes"]) == (472, 32**3, [32, 32, 32])
    assert film["collision_rate"] == film["colliding_items"] / 472 > 0
    cosines = [film["random_cosine"], *(level["cosine"] for level in film["levels"])]
    assert cosines == sorted(cosines), "the more codes two films share, the more alike they are"
    assert film["drift"]["verdict"] == "ONE_TIME"
    assert film["vectors"] == "embeddings"
    of_files = as_json(*FILES, "--codebooks", str(processes.ROOT / "neo_runtime" / "demo" / "model"))
    for one, other in zip(of_catalog["reports"], of_files["reports"], strict=True):
        assert [level["cosine"] for level in one["levels"]] == pytest.approx([x["cosine"] for x in other["levels"]])
        assert [level["perplexity"] for level in one["levels"]] == [level["perplexity"] for level in other["levels"]]
        assert one["colliding_items"] == other["colliding_items"]
        assert one["moved_items"] == other["moved_items"]


def test_settings_are_compared_in_one_table_per_type(tmp_path: Path) -> None:
    arguments = ["--levels", "8,8", "--levels", "16,16,16"]
    shown = report(*FILES[-2:], *arguments, "--out", str(tmp_path))
    assert "film: 472 items" in shown
    assert re.search(r"^16×16×16 ", shown, re.MULTILINE)
    assert "8×8: 408 of 472 film items find no free semantic ID among 64" in shown
    assert Loads((tmp_path / "report.html").read_text()).addresses == []
    found = as_json(*FILES[-2:], *arguments)["reports"]
    assert [one["setting"] for one in found] == ["8×8", "16×16×16"]
    assert found[0]["colliding_items"] > found[1]["colliding_items"]
    assert found[0]["relative_error"] > found[1]["relative_error"]
    assert found[1]["unseen_relative_error"] > found[1]["relative_error"]


def test_the_guide_shows_what_the_command_prints() -> None:
    """Its films, within what another processor's k-means may change."""
    guide = (processes.ROOT / "docs" / "choosing-semantic-ids.md").read_text()
    table = guide.split("| films (random cosine")[1].split("\n\n")[0]
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert len(rows) == 6
    levels = [option for row in rows for option in ("--levels", row[0].replace("×", ","))]
    found = {one["setting"]: one for one in as_json(*FILES, *levels)["reports"] if one["item_type"] == "film"}
    for setting, collide, moved, refused, error, unseen, *_ in rows:
        one = found[setting]
        assert 100 * one["collision_rate"] == pytest.approx(float(collide), abs=4)
        assert 100 * one["moved_items"] / one["items"] == pytest.approx(float(moved), abs=4)
        assert 100 * one["refused_items"] / one["items"] == pytest.approx(float(refused), abs=0.1)
        assert 100 * one["relative_error"] == pytest.approx(float(error), abs=2)
        assert 100 * one["unseen_relative_error"] == pytest.approx(float(unseen), abs=4)


def test_fitted_codebooks_stand_beside_candidates_with_the_same_embedder(tmp_path: Path) -> None:
    done = processes.neo("sids", "fit", *FILES[:2], "--levels", "16,16", "--out", str(tmp_path / "mine"))
    assert done.returncode == 0, done.stderr
    found = as_json(*FILES[:2], "--codebooks", str(tmp_path / "mine"), "--levels", "16,16")["reports"]
    assert [one["setting"] for one in found] == ["mine", "16×16"]
    assert found[0]["levels"] == found[1]["levels"]
    assert found[0]["drift"] is not None
    assert found[1]["drift"] is None


def test_a_catalog_of_carried_embeddings_says_that_cosines_are_estimates(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 40).close()
    shown = report("--catalog", str(tmp_path / "c"))
    assert "film: embeddings are not stored and cannot be made again here" in shown
    assert as_json("--catalog", str(tmp_path / "c"))["reports"][0]["vectors"] == "codebooks"


def test_types_that_are_empty_or_oddly_named_are_drawn_too(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 0, types={"<a&b>": (4, 4), "$x_y$": (4, 4)}).close()
    shown = report("--catalog", str(tmp_path / "c"), "--out", str(tmp_path))
    assert "$x_y$" in shown
    page = (tmp_path / "report.html").read_text()
    assert "<a&b>" not in page
    assert page.count("&lt;a&amp;b&gt;") > 3
    assert "$x_y$: share of the codes in use" in page
    assert (tmp_path / "report.png").stat().st_size > 1_000


def test_events_that_found_no_free_sid_are_told(tmp_path: Path) -> None:
    tiny.catalog(tmp_path / "c", 40, types={"book": (6, 6)}).close()
    shown = report("--catalog", str(tmp_path / "c"))
    assert "4 events were refused since no semantic ID was free" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels", "8,8"], "tried on item files; name some"),
        ([FILES[0], "--levels", "8,eight"], "not a list of numbers"),
        ([FILES[0], "--levels", "1,8"], "between 2 and 65,536"),
        (["--catalog", "/nowhere"], "no catalog in /nowhere"),
        ([FILES[0], "--codebooks", "/nowhere"], "no codebooks in /nowhere"),
        ([FILES[0], "--fitted-at", "yesterday"], "is no date or time"),
        ([FILES[0], "--levels", "500,500"], "220 items cannot fill 500 codes"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], message: str) -> None:
    done = processes.neo("sids", "report", *arguments, env=WIDE)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
