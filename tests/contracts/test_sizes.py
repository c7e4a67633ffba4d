"""The size rules: files that fit in a head, functions that fit on a screen."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [p for folder in ("neo_runtime", "workers") for p in (ROOT / folder).rglob("*.py") if p.parent.name != "v1"]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
P90_FUNCTION_LINES = 35
MEDIAN_FUNCTION_LINES = 10
BANNED_NAMES = ("util", "utils", "helper", "helpers", "manager", "common", "misc")


def functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f"{path.name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1) for node in found]


def test_files_fit_in_a_head() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def test_functions_fit_on_a_screen() -> None:
    sizes = [entry for path in SOURCES for entry in functions(path)]
    assert [entry for entry in sizes if entry[1] > MAX_FUNCTION_LINES] == []
    lengths = sorted(size for _, size in sizes)
    assert lengths[len(lengths) * 9 // 10] <= P90_FUNCTION_LINES
    assert lengths[len(lengths) // 2] <= MEDIAN_FUNCTION_LINES


def test_names_say_something() -> None:
    assert [str(path) for path in SOURCES if path.stem in BANNED_NAMES] == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
