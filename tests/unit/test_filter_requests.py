"""Filters on their way in: from Python, the command line and the configuration to the engine's constraints."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic_settings import SettingsError

from neo_runtime.cli.where import parse_filter, parse_where, together
from neo_runtime.client import generate_request, rank_request
from neo_runtime.config import Settings
from neo_runtime.engine.api import Constraints, EngineLimits
from neo_runtime.errors import InvalidRequestError, StartupError
from neo_runtime.ingest.event import attribute
from neo_runtime.serving.requests import RequestReader
from neo_runtime.trie.predicate import Condition, Equals, OneOf, Predicate, Range, matches
from neo_runtime.trie.predicate_json import declared
from neo_runtime.v1 import generation_service_pb2 as pb
from neo_runtime.v1.catalog_pb2 import AttributeValue
from neo_runtime.v1.constraint_pb2 import Condition as ConditionMessage
from neo_runtime.v1.constraint_pb2 import Filter

LIMITS = EngineLimits(max_context_tokens=256, max_beam_width=64, max_output_tokens=128, max_items=16)
NINETIES = Condition("year", Range(1990, 2000))
NAMED = {name: Predicate(must=(Condition("for", Equals(name)),)) for name in ("kids", "new")}


def read(request: pb.RankItemsRequest) -> Constraints:
    return RequestReader("tiny", ("film", "book"), LIMITS, NAMED).rank(request).constraints


def refusal(request: pb.RankItemsRequest) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        read(request)
    return caught.value


def filtered(**lists: list[ConditionMessage]) -> pb.RankItemsRequest:
    request = rank_request("film")
    request.constraints.filter.CopyFrom(Filter(**lists))  # type: ignore[arg-type]
    return request


def time_value(seconds: int, nanos: int = 0) -> AttributeValue:
    return AttributeValue(time_value=Timestamp(seconds=seconds, nanos=nanos))


def test_a_filter_in_either_form_reaches_the_engine_with_names_and_region() -> None:
    as_json = {"must": [{"attribute": "year", "range": {"greaterOrEqual": 1990, "less": 2000}}]}
    for where in (as_json, Predicate(must=(NINETIES,))):
        found = read(rank_request("film", where=where, named_filters=["kids", "new", "kids"], region="at"))
        assert found.predicates == (Predicate(must=(NINETIES,)), NAMED["kids"], NAMED["new"])
        assert (found.region, found.item_types) == ("at", ("film",))
    request = generate_request("hi", where=as_json, named_filters=["new"], region="de")
    work = RequestReader("tiny", ("film",), LIMITS, NAMED).generate(request)
    assert work.constraints == Constraints(predicates=(Predicate(must=(NINETIES,)), NAMED["new"]), region="de")


def test_a_request_that_asks_for_no_filter_has_none() -> None:
    assert read(rank_request(prompt="hi")) == Constraints()
    assert read(rank_request(prompt="hi", where={}, region="")) == Constraints()


def test_a_wrong_filter_is_refused_by_the_client_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequestError, match=r"where\.must\[0\]: must have one test"):
        rank_request("film", where={"must": [{"attribute": "year"}]})
    with pytest.raises(InvalidRequestError, match=r"where\.must\[0\]\.range: has no bound"):
        rank_request("film", where=Predicate(must=(Condition("year", Range()),)))


MALFORMED: list[tuple[ConditionMessage, str, str]] = [
    (ConditionMessage(attribute="a"), "", "no test"),
    (ConditionMessage(attribute="a", equals=AttributeValue()), ".equals", "no value"),
    (ConditionMessage(equals=AttributeValue(int_value=1)), ".attribute", "missing"),
    (ConditionMessage(attribute="a", equals=AttributeValue(string_list=AttributeValue.StringList())),
     ".equals", "list"),
    (ConditionMessage(attribute="a", nested=Filter()), ".attribute", "does not belong"),
    (ConditionMessage(attribute="a", range=ConditionMessage.Range()), ".range", "no bound"),
    (ConditionMessage(attribute="a", one_of=ConditionMessage.OneOf()), ".one_of", "0 values"),
    (ConditionMessage(attribute="a", one_of=ConditionMessage.OneOf(values=[AttributeValue(int_value=1)] * 1_001)),
     ".one_of", "1001 values"),
    (ConditionMessage(attribute="a", equals=time_value(10**15)), ".equals", "years"),
    (ConditionMessage(attribute="a", range=ConditionMessage.Range(less=time_value(1, 5))),
     ".range.less", "whole second"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "path", "words"), MALFORMED)
def test_a_malformed_condition_is_refused_with_its_place(condition: ConditionMessage, path: str, words: str) -> None:
    error = refusal(filtered(should=[ConditionMessage(attribute="b", exists=True), condition]))
    assert error.reason == "BAD_FILTER"
    assert error.violations[0].field == f"constraints.filter.should[1]{path}"
    assert words in error.violations[0].description


def test_every_fault_of_a_filter_is_told_once() -> None:
    error = refusal(filtered(must=[condition for condition, _, _ in MALFORMED if condition.attribute]))
    assert len({violation.field for violation in error.violations}) == len(error.violations)
    assert len(error.violations) >= len(MALFORMED) - 1


@pytest.mark.parametrize("count", [65, 100_000])
def test_too_many_conditions_are_refused(count: int) -> None:
    error = refusal(filtered(must=[ConditionMessage(attribute="a", exists=True)] * count))
    assert [violation.field for violation in error.violations] == ["constraints.filter"]


def test_a_filter_nested_too_deep_is_refused() -> None:
    tree = Filter(must=[ConditionMessage(attribute="a", exists=True)])
    for _ in range(20):
        tree = Filter(must=[ConditionMessage(nested=tree)])
    request = rank_request("film")
    request.constraints.filter.CopyFrom(tree)
    assert [violation.field for violation in refusal(request).violations] == [
        "constraints.filter" + ".must[0].nested" * 4
    ]


def test_an_unknown_named_filter_is_refused_with_the_known_names() -> None:
    error = refusal(rank_request("film", named_filters=["kids", "old"]))
    assert error.reason == "BAD_FILTER"
    assert str(error) == "constraints.named_filters[1]: 'old' is not declared; known are kids, new"


def test_a_refusal_of_more_than_filters_is_of_the_request() -> None:
    assert refusal(rank_request("film", named_filters=["old"], limit=1_000)).reason == "INVALID_REQUEST"


def test_too_much_of_features_and_names_is_refused() -> None:
    assert [v.field for v in refusal(rank_request("film", region="x" * 2_000)).violations] == ["user.features"]
    assert [v.field for v in refusal(rank_request("film", named_filters=["kids"] * 65)).violations] == [
        "constraints.named_filters"
    ]


@pytest.mark.parametrize(("seconds", "nanos"), [(99, 0), (99, 999_999_999), (100, 0), (100, 500_000_000), (101, 0)])
def test_a_range_of_times_is_exact_for_times_with_a_fraction(seconds: int, nanos: int) -> None:
    """A stored time is text, in which a fraction sorts before the bare second."""
    stored = attribute("shown", time_value(seconds, nanos))
    since = read(
        filtered(
            must=[ConditionMessage(attribute="shown", range=ConditionMessage.Range(greater_or_equal=time_value(100)))]
        )
    ).predicates[0]
    before = read(
        filtered(must=[ConditionMessage(attribute="shown", range=ConditionMessage.Range(less=time_value(100)))])
    ).predicates[0]
    assert matches(since, {"shown": stored}) is (seconds >= 100)
    assert matches(before, {"shown": stored}) is (seconds < 100)


TYPED: dict[str, Any] = {
    "year>=1990": Condition("year", Range(1990)),
    "year<7.5": Condition("year", Range(less=7.5)),
    "genres=war": Condition("genres", Equals("war")),
    "genres = war, crime": Condition("genres", OneOf(("war", "crime"))),
    "seen=true": Condition("seen", Equals(True)),
    'year="1990"': Condition("year", Equals("1990")),
    'title="Dune, \\"2\\"",Alien': Condition("title", OneOf(('Dune, "2"', "Alien"))),
    "shown>=2020-01-01": Condition("shown", Range("2020-01-01")),
    "release date<2020": Condition("release date", Range(less=2020)),
    "genres!=war": Predicate(must_not=(Condition("genres", Equals("war")),)),
    'title=""': Condition("title", Equals("")),
    "title=a=b": Condition("title", Equals("a=b")),
}


@pytest.mark.parametrize("text", TYPED)
def test_a_typed_condition_means_what_it_says(text: str) -> None:
    meant = TYPED[text]
    assert parse_where(text) == (Predicate(must=(meant,)) if isinstance(meant, Condition) else meant)


@pytest.mark.parametrize(
    "text", ["", "year", "=1", "year>1990", "year<=3", "a==b", "year=", "a=b,", 'a="b', "year>=1,2", 'a="b"c']
)
def test_what_is_no_condition_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_where(text)


def test_typed_conditions_and_a_tree_hold_together() -> None:
    tree = parse_filter('{"should": [{"attribute": "a", "exists": true}]}')
    typed = [parse_where("year>=1990"), parse_where("genres!=war"), parse_where("year<2000")]
    since, before, war = (
        Condition("year", Range(1990)),
        Condition("year", Range(less=2000)),
        Condition("genres", Equals("war")),
    )
    assert together(typed, tree) == Predicate(must=(since, before, tree), must_not=(war,))
    assert together(typed[:1], parse_filter("{}")) == typed[0]
    assert together([], None) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"must": [{}]}', "[" * 100_000])
def test_a_tree_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_filter(text)


def test_filters_are_declared_in_the_configuration(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "neo.toml").write_text(
        "[filters.kids]\n"
        'must = [{ attribute = "age", range = { less = 7 } }]\n'
        'must_not = [{ attribute = "genres", one_of = ["war", "crime"] }]\n'
    )
    monkeypatch.chdir(tmp_path)
    assert declared(Settings().filters) == {
        "kids": Predicate(
            must=(Condition("age", Range(less=7)),), must_not=(Condition("genres", OneOf(("war", "crime"))),)
        )
    }
    monkeypatch.setenv("NEO_FILTERS", '{"new": {"must": [{"attribute": "year", "range": {"greaterOrEqual": 2020}}]}}')
    assert declared(Settings().filters)["new"] == Predicate(must=(Condition("year", Range(2020)),))
    monkeypatch.setenv("NEO_FILTERS", "no JSON")
    with pytest.raises(SettingsError):
        Settings()


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"kids": {"must": [{"attribute": "age", "range": {"below": 7}}]}}, r"kids\.must\[0\]\.range: has an un"),
        ({"kids": {"must": [{"attribute": "age", "range": {"less": True}}]}}, r"kids\.must\[0\]\.range: has a b"),
        ({"for kids": {}}, "'for kids' is no name"),
        ({str(number): {} for number in range(300)}, "declares 300, over the limit of 256"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_does_not_start_and_names_filter_and_place(filters: dict[str, Any], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        declared(filters)
