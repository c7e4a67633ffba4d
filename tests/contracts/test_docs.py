"""What the documents name exists, and everything that a person can type or set is explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from neo_runtime.cli.main import app
from neo_runtime.config import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/choosing-semantic-ids.md",
    "docs/data.md",
    "docs/evaluation.md",
    "docs/other-engines.md",
    "docs/sid-refresh.md",
    "docs/training.md",
    "neo_runtime/demo/README.md",
)
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.*-]*)`|\]\(((?!http)[^)#]+)\)")


def commands(group: click.Group, name: str = "neo") -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(commands(typer.main.get_command(app)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    silent = [p.name for p in command.params if not getattr(p, "help", None) and p.name != "help"]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_or_a_page_of_its_own(name: str) -> None:
    pages = ("README.md", "docs/data.md", "docs/evaluation.md")
    assert any(name in (ROOT / page).read_text() for page in pages)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    places = (ROOT, ROOT / "neo_runtime", (ROOT / document).parent)
    named = [(code or link).rstrip("/") for code, link in PATH.findall((ROOT / document).read_text())]
    # Only what begins with a folder of ours: the rest lies elsewhere, as the files of a catalog do.
    ours = [path for path in named if any((place / path.split("/")[0]).exists() for place in places)]
    missing = [path for path in ours if not any(list(place.glob(path)) for place in places)]
    assert missing == []
