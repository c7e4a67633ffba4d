"""Which of many upserts may break a rule of `item`: found column by column, so that most need no look of their own.

Whatever is named here is then judged by the rules themselves; what is not named keeps them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neo_runtime.catalog import item
from neo_runtime.catalog.bulk_lines import Lines
from neo_runtime.errors import EventError
from neo_runtime.sid.codebook import Codebook
from neo_runtime.types import Attribute, ItemKey

_BYTES_A_CHAR = 4  # at most, in UTF-8
_FEW_CHARS = item.MAX_ATTRIBUTE_BYTES // 2 // _BYTES_A_CHAR


def suspects(lines: Lines, codebooks: Mapping[str, Codebook], *, has_embedder: bool) -> set[int]:
    """Entries of `lines` to look at one by one."""
    found = set[int]()
    if not has_embedder and None in lines.embeddings:
        found.update(i for i, given in enumerate(lines.embeddings) if given is None)
    known = {name: book for name, book in codebooks.items() if _is_good_type(name)}
    if not known.keys() >= set(lines.types):
        found.update(i for i, name in enumerate(lines.types) if name not in known)
    if not "".join(lines.ids).isprintable():
        found.update(i for i, text in enumerate(lines.ids) if not text.isprintable())
    found.update(_long(lines.ids, item.MAX_ID_BYTES), _empty(lines.ids))
    found.update(_empty(list(map(str.strip, lines.titles))))
    for texts, limit in ((lines.titles, item.MAX_TITLE_CHARS), (lines.descriptions, item.MAX_DESCRIPTION_CHARS)):
        found.update(_unencodable(texts), _above(texts, limit))
    if not all(map(math.isfinite, lines.popularities)):
        found.update(i for i, number in enumerate(lines.popularities) if not math.isfinite(number))
    found.update(_of_other_embeddings(lines, known))
    found.update(_of_attributes(lines))
    return found


def _is_good_type(name: str) -> bool:
    try:
        item.validate_key(ItemKey(name, "x"))
    except EventError:
        return False
    return True


def _empty(texts: Sequence[str]) -> list[int]:
    return [] if all(texts) else [i for i, text in enumerate(texts) if not text]


def _above(texts: Sequence[Sequence[str] | str], limit: int) -> list[int]:
    if max(map(len, texts), default=0) <= limit:
        return []
    return [i for i, text in enumerate(texts) if len(text) > limit]


def _long(texts: Sequence[str], limit: int) -> list[int]:
    """Over `limit` bytes."""
    if max(map(len, texts), default=0) * _BYTES_A_CHAR <= limit:
        return []
    return [i for i, text in enumerate(texts) if len(text.encode(errors="surrogatepass")) > limit]


def _unencodable(texts: Sequence[str]) -> list[int]:
    return [] if _encodes("".join(texts)) else [i for i, text in enumerate(texts) if not _encodes(text)]


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of_other_embeddings(lines: Lines, codebooks: Mapping[str, Codebook]) -> Iterator[int]:
    """Of another length or model than the codebook's."""
    expected = {name: 4 * book.dimension for name, book in codebooks.items()}
    models = {name: ("", book.embedder) for name, book in codebooks.items()}
    if len(codebooks) == 1:  # all of them at once
        (name,) = codebooks
        sizes = {None if given is None else len(given) for given in lines.embeddings}
        if sizes <= {None, expected[name]} and set(lines.models) <= set(models[name]):
            return
    for i, (name, given, model) in enumerate(zip(lines.types, lines.embeddings, lines.models, strict=True)):
        if given is not None and name in codebooks and (len(given) != expected[name] or model not in models[name]):
            yield i


def _of_attributes(lines: Lines) -> Iterator[int]:
    for names, entries in lines.schemas().items():
        if len(names) > item.MAX_ATTRIBUTES:
            yield from entries
    for name, entries, values in lines.values():
        yield from (entries[i] for i in _of_values(values)) if _is_good_name(name) else entries


def _is_good_name(name: str) -> bool:
    return bool(name) and _encodes(name) and len(name.encode()) < item.MAX_ATTRIBUTE_BYTES // 2


def _of_values(values: list[Attribute]) -> Iterator[int]:
    """Places of values that may not do, beside a name of less than half of the bytes that an attribute may have."""
    kinds = set(map(type, values))
    for kind in kinds:
        places = range(len(values)) if len(kinds) == 1 else [i for i, value in enumerate(values) if type(value) is kind]
        chosen = values if len(kinds) == 1 else [values[i] for i in places]
        if not _all_do(kind, chosen):
            yield from (i for i, value in zip(places, chosen, strict=True) if not _all_do(kind, [value]))


def _all_do(kind: type, values: list[Any]) -> bool:
    if kind is bool:
        return True
    if kind is int:
        return bool(min(values) >= -(2**63) and max(values) < 2**63)
    if kind is float:
        return all(map(math.isfinite, values))
    if kind is str:
        return max(map(len, values)) <= _FEW_CHARS and _encodes("".join(values))
    texts = list(map("".join, values))
    is_short = max(map(len, values)) <= item.MAX_LIST_VALUES and max(map(len, texts)) <= _FEW_CHARS
    return is_short and _encodes("".join(texts))
