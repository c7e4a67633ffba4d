"""Items in sentences: attributes that have a place in one stand there, the others as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neo_runtime.catalog.item import Upsert
from neo_runtime.training.teacher import Ask, TemplateTeacher
from neo_runtime.training.wording import describe, plural
from neo_runtime.types import Attribute
from tests.kit import tiny


def item(key: str, title: str, description: str = "", **attributes: Attribute) -> Upsert:
    return replace(tiny.upsert(key, title=title), description=description, attributes=attributes)


ALIEN = item(
    "film/alien", "Alien", "A crew answers.", year=1979, creators=["Ridley Scott"],
    genres=["science fiction", "horror"], themes=["space", "fear"], mood="dark",
)  # fmt: skip
MOON = item("film/moon", "Moon", genres=["drama"], themes=["space", "identity"])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            ALIEN,
            "Alien (1979): a science fiction film by Ridley Scott about space and fear. mood: dark. A crew answers.",
        ),
        (MOON, "Moon: a drama film about space and identity."),
        (item("artist/a", "Abba", creators=["Abba"]), "Abba: an artist."),
    ],
)
def test_an_item_in_a_sentence(told: Upsert, said: str) -> None:
    assert describe(told) == said


def test_a_reason_says_what_kind_of_item_it_is() -> None:
    (reason,) = TemplateTeacher([ALIEN, MOON]).answers([Ask((ALIEN,), MOON)])
    assert reason == "a drama film about space and identity. You like space."


@pytest.mark.parametrize(("one", "many"), [("film", "films"), ("story", "stories"), ("toy", "toys"), ("box", "boxes")])
def test_more_than_one(one: str, many: str) -> None:
    assert plural(one) == many
