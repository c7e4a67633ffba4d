"""Hypothesis strategies for attributes and filter trees: few values of every kind, close to each other."""

from __future__ import annotations

from hypothesis import strategies as st

from neo_runtime.trie.predicate import Condition, Equals, Exists, OneOf, Predicate, Range

# Next to each other, and where a conversion to float would round.
INTEGERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 2**53, 2**53 + 1, 2**62 + 1, 2**63 - 1]) | st.integers(-3, 3)
FLOATS = st.sampled_from(
    [-1e300, -0.5, -0.0, 0.5, 1.0, 1.5, 2.0**53, 2.0**53 + 2, 2.0**62, 2.0**63, -(2.0**63), 1e300, 5e-324]
)
TEXTS = st.sampled_from(["", "\0", "a", "a\0", "ab", "b", "é", "￿", "\U0001f600", "the same beginning", "the same"])
SCALARS = st.one_of(INTEGERS, FLOATS, TEXTS, st.booleans())
NAMES = st.sampled_from(["a", "b", "values", 'a name with "quotes", dots. and é'])
ATTRIBUTES = st.dictionaries(NAMES, SCALARS | st.lists(TEXTS, max_size=3), max_size=4)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low, high = draw(st.tuples(INTEGERS | FLOATS, INTEGERS | FLOATS) | st.tuples(TEXTS, TEXTS))
    side = draw(st.sampled_from(["both", "low", "high"]))
    return Range(None if side == "high" else low, None if side == "low" else high)


TESTS = st.one_of(
    SCALARS.map(Equals),
    st.lists(SCALARS, min_size=1, max_size=4).map(lambda values: OneOf(tuple(values))),
    ranges(),
    st.booleans().map(Exists),
)
CONDITIONS = st.builds(Condition, NAMES, TESTS)


def trees(clauses: st.SearchStrategy[Condition | Predicate]) -> st.SearchStrategy[Predicate]:
    lists = st.lists(clauses, max_size=2).map(tuple)
    return st.builds(Predicate, lists, lists, lists)


INNER = trees(CONDITIONS).filter(lambda tree: tree != Predicate())
PREDICATES = trees(CONDITIONS | INNER)
