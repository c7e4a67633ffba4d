"""An item in a sentence: what kind of thing it is, by whom, about what. Other attributes are told as they are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from neo_runtime.catalog.item import Upsert
from neo_runtime.embed.base import item_text
from neo_runtime.prompt.tasks import with_article

# Names of attributes, singular or plural, that have a place of their own in a sentence.
KIND = ("genre", "genres")
BY = ("artist", "author", "authors", "creator", "creators", "director")
ABOUT = ("subjects", "themes", "topics")
YEAR = "year"


def describe(item: Upsert) -> str:
    """`Alien (1979): a horror film by Ridley Scott about space. Description`."""
    by, about = values(item, BY), values(item, ABOUT)
    year = item.attributes.get(YEAR)
    when = f" ({year})" if isinstance(year, int) and not isinstance(year, bool) else ""
    what = f"{item.title}{when}: {kind_of(item)}"
    if by and list(by) != [item.title]:
        what += f" by {joined(by)}"
    if about:
        what += f" about {joined(about)}"
    other = {name: value for name, value in item.attributes.items() if name not in (*KIND, *BY, *ABOUT, YEAR)}
    return item_text(what, item.description, other)


def kind_of(item: Upsert) -> str:
    """`a horror film`, or `a film` where no genre is known."""
    genres = values(item, KIND)
    return with_article(f"{genres[0]} {item.key.type}" if genres else item.key.type)


def values(item: Upsert, names: Collection[str]) -> Sequence[str]:
    """Texts of the attributes that have one of these names."""
    found: list[str] = []
    for name in names:
        value = item.attributes.get(name)
        found += value if isinstance(value, list) else [value] if isinstance(value, str) and value.strip() else []
    return found


def plural(item_type: str) -> str:
    """`films`, `stories`, `boxes`: type names are the catalog's own words."""
    if item_type.endswith("y") and item_type[-2:-1] not in "aeiou":
        return f"{item_type[:-1]}ies"
    return item_type + ("es" if item_type.endswith(("s", "x", "ch", "sh")) else "s")


def joined(words: Sequence[str]) -> str:
    """`war`, `war and peace`, `war, peace and love`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
