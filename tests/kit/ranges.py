"""Every field of the requests of GenerationService: values past its range, values at its ends, and what has no range.

Paths are those of the messages, `[]` for the length of a list or map. Values are proto3 JSON, merged into a request
that is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from neo_runtime.client import generate_request, rank_request
from neo_runtime.client.requests import warm
from neo_runtime.v1 import generation_service_pb2 as pb

Json = Mapping[str, Any]
Request = pb.GenerateRequest | pb.RankItemsRequest | pb.WarmRequest
METHODS: dict[str, Request] = {
    "Generate": generate_request("hi", max_output_tokens=2),
    "RankItems": rank_request(prompt="hi"),
    "Warm": warm(rank_request(prompt="hi")),
}


class Wrong(NamedTuple):
    """A value past the range of `path`, refused by naming `field` (empty: the path itself, without its `[]`)."""

    path: str
    value: Json
    field: str = ""

    @property
    def named(self) -> str:
        return self.field or self.path.removesuffix("[]")


FILM = {"itemType": "film", "itemId": "f1"}
BAD_REFS = (
    ("item_type", {"itemType": "", "itemId": "f1"}), ("item_type", {"itemType": "song", "itemId": "f1"}),
    ("item_type", {"itemType": "film" * 10_000, "itemId": "f1"}), ("item_id", {"itemType": "film", "itemId": ""}),
    ("item_id", {"itemType": "film", "itemId": "x" * 257}), ("item_id", {"itemType": "film", "itemId": "é" * 129}),
    ("item_id", {"itemType": "film", "itemId": "f\0"}),
)  # fmt: skip
SAID = {"role": "ROLE_USER", "contents": [{"text": "hi"}]}
NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def _messages(*messages: Json) -> Json:
    return {"conversation": {"messages": list(messages)}}


def _task(**fields: Any) -> Json:
    return {"task": {"task": "TASK_RETRIEVE", "itemType": "film", "subject": [{"text": "x"}]} | fields}


def _prompts() -> Iterator[Wrong]:
    yield Wrong("conversation.messages[]", _messages())
    yield Wrong("conversation.messages[]", _messages(*[SAID] * 10_001))
    for role in (0, 4, -1, 2**31 - 1):
        yield Wrong("conversation.messages.role", _messages(SAID | {"role": role}), "conversation.messages[0].role")
    contents = "conversation.messages.contents"
    place = "conversation.messages[0].contents"
    yield Wrong(f"{contents}[]", _messages({"role": "ROLE_USER", "contents": []}), place)
    many = {"role": "ROLE_USER", "contents": [{"text": "x"}] * 10_001}
    yield Wrong(f"{contents}[]", _messages(many), "conversation.messages")
    yield Wrong(f"{contents}[]", _messages({"role": "ROLE_USER", "contents": [{}]}), f"{place}[0]")
    for text in ("", " \n\t", "x" * 200_001):
        said = {"role": "ROLE_USER", "contents": [{"text": text}]}
        yield Wrong(f"{contents}.text", _messages(said), "conversation.messages")
    for task in (0, 5, -1, 2**31 - 1):
        yield Wrong("task.task", _task(task=task))
    for name in ("", "song", "Film", "film\0"):
        yield Wrong("task.item_type", _task(itemType=name))
    yield Wrong("task.subject[]", _task(subject=[]))
    yield Wrong("task.subject[]", _task(subject=[{"text": "x"}] * 10_001))
    for text in ("", " ", "x" * 200_001):
        yield Wrong("task.subject.text", _task(subject=[{"text": text}]), "task.subject")
    for name, item in BAD_REFS:
        yield Wrong(
            f"{contents}.item.{name}", _messages(SAID | {"contents": [{"item": item}]}), f"{place}[0].item.{name}"
        )
        yield Wrong(f"task.subject.item.{name}", _task(subject=[{"item": item}]), f"task.subject[0].item.{name}")


def _users() -> Iterator[Wrong]:
    yield Wrong("user.history[]", {"user": {"history": [{"item": FILM}] * 1_001}})
    for name, item in BAD_REFS:
        user = {"user": {"history": [{"item": FILM}, {"item": item}]}}
        yield Wrong(f"user.history.item.{name}", user, f"user.history[1].item.{name}")
    for features in ({str(number): "" for number in range(65)}, {"x" * 1_001: ""}, {"region": "x" * 1_001}):
        yield Wrong("user.features[]", {"user": {"features": features}})


def _constraints() -> Iterator[Wrong]:
    def spec(**fields: Any) -> Json:
        return {"constraints": fields}

    yield Wrong("constraints.item_types[]", spec(itemTypes=["film"] * 1_001))
    for name in ("", "song", "film "):
        yield Wrong("constraints.item_types", spec(itemTypes=["film", name]), "constraints.item_types[1]")
    for field, name in (("allow_items", "allowItems"), ("deny_items", "denyItems")):
        path = f"constraints.{field}"
        yield Wrong(f"{path}[]", spec(**{name: [FILM] * 10_001}))
        for part, item in BAD_REFS:
            yield Wrong(f"{path}.{part}", spec(**{name: [FILM, item]}), f"{path}[1].{part}")
    yield Wrong("constraints.named_filters[]", spec(namedFilters=["none"] * 65))
    yield Wrong("constraints.named_filters", spec(namedFilters=["none"]), "constraints.named_filters[0]")
    for path, condition, place in _conditions():
        for clauses in ("must", "should", "must_not"):
            json_name = {"must_not": "mustNot"}.get(clauses, clauses)
            yield Wrong(
                f"constraints.filter.{clauses}{path}", spec(filter={json_name: [condition]}),
                f"constraints.filter.{clauses}[0]{place}",
            )  # fmt: skip
    for clauses, json_name in (("must", "must"), ("should", "should"), ("must_not", "mustNot")):
        conditions = [{"attribute": "a", "exists": True}] * 65
        yield Wrong(f"constraints.filter.{clauses}[]", spec(filter={json_name: conditions}), "constraints.filter")


def _conditions() -> Iterator[tuple[str, Json, str]]:
    """Of one condition: path behind its list, value, and where the fault is said to be."""
    yield "[]", {}, ""
    yield ".attribute", {"exists": True}, ".attribute"
    yield ".attribute", {"attribute": "a", "nested": {"must": [{"attribute": "b", "exists": True}]}}, ".attribute"
    for kind, value in _values():
        yield f".equals.{kind}", {"attribute": "a", "equals": value}, ".equals"
        place = ".one_of[1]" if kind == "double_value" else ".one_of.values[1]"
        values = [{"intValue": 1}, value]
        yield f".one_of.values.{kind}", {"attribute": "a", "oneOf": {"values": values}}, place
        for bound, name in (("greater_or_equal", "greaterOrEqual"), ("less", "less")):
            place = ".range" if kind == "double_value" else f".range.{bound}"
            yield f".range.{bound}.{kind}", {"attribute": "a", "range": {name: value}}, place
    for bound, name in (("greater_or_equal", "greaterOrEqual"), ("less", "less")):
        yield f".range.{bound}.bool_value", {"attribute": "a", "range": {name: {"boolValue": True}}}, ".range"
    yield ".one_of.values[]", {"attribute": "a", "oneOf": {"values": []}}, ".one_of"
    yield ".one_of.values[]", {"attribute": "a", "oneOf": {"values": [{"intValue": 1}] * 1_001}}, ".one_of"
    deep: Json = {"attribute": "a", "exists": True}
    for _ in range(4):
        deep = {"nested": {"must": [deep]}}
    yield ".nested", deep, ".nested" + ".must[0].nested" * 3
    yield ".nested", {"nested": {}}, ".nested"


def _values() -> Iterator[tuple[str, Json]]:
    for number in NOT_FINITE:
        yield "double_value", {"doubleValue": number}
    yield "string_list.values[]", {"stringList": {"values": ["a"]}}


def _decoding() -> Iterator[Wrong]:
    past: dict[str, tuple[Any, ...]] = {
        "max_output_tokens": (0, 257, 2**32 - 1), "max_items": (65, 2**32 - 1),
        "temperature": (-1e-6, 10.01, -1.0, *NOT_FINITE), "top_p": (0.0, -0.1, 1.001, *NOT_FINITE),
        "beam_width": (0, 513, 2**32 - 1), "stop_sequences": ([""], ["x", ""], ["x" * 1_001]),
        "stop_sequences[]": (["x"] * 17,),
    }  # fmt: skip
    for name, values in past.items():
        for value in values:
            yield Wrong(f"decoding.{name}", {"decoding": {name.removesuffix("[]"): value}})


def _options() -> Iterator[Wrong]:
    for alternatives in (512, 2**32 - 1):
        yield Wrong("options.alternatives", {"options": {"alternatives": alternatives}})
    for bonus in (-10.01, 10.01, *NOT_FINITE):
        yield Wrong("options.new_item_bonus", {"options": {"newItemBonus": bonus}})
    for form in (3, -1, 2**31 - 1):
        yield Wrong("options.format", {"options": {"format": form}})
    yield Wrong("options.attributes[]", {"options": {"attributes": list(map(str, range(65)))}})


def _others() -> Iterator[Wrong]:
    for name in ("gpt", "tiny ", "x" * 100_000):
        yield Wrong("model", {"model": name})
    for results in (513, 2**32 - 1):
        yield Wrong("max_results", {"maxResults": results})


WRONG = [*_prompts(), *_users(), *_constraints(), *_decoding(), *_options(), *_others()]

# Where every value that protobuf itself takes means something.
WITHOUT_RANGE = {
    "user.history.time": "nothing is made of it",
    "user.features": "keys and values are texts of any kind",
    "constraints.exclude_history": "a boolean",
    "decoding.top_k": "0 is all, and so is whatever is more than there are",
    "decoding.seed": "64 bits are what the generator takes",
    "options.include_sids": "a boolean",
    "options.attributes": "what no item has is left out",
}
# Of conditions: any text, whole number or boolean may be an attribute's value, and times of other years are not JSON.
VALUES = ("string_value", "int_value", "bool_value", "time_value", "string_list.values", "exists")

ENDS: dict[str, Json] = {
    "the longest prompt that is looked at": _messages({"role": "ROLE_SYSTEM", "contents": [{"text": ""}]}, SAID),
    "a long id": {"constraints": {"denyItems": [{"itemType": "film", "itemId": "x" * 256}]}},
    "a long history": {"user": {"history": [{"item": FILM}] * 1_000}},
    "many features": {"user": {"features": {str(number): "x" * 1_000 for number in range(64)}}},
    "a long name of a feature": {"user": {"features": {"x" * 1_000: ""}}},
    "many allowed and denied": {"constraints": {"allowItems": [FILM] * 10_000, "denyItems": [
        {"itemType": "film", "itemId": f"none{number}"} for number in range(10_000)
    ]}},
    "many types": {"constraints": {"itemTypes": ["film", "book"] * 500}},
    "many conditions": {"constraints": {"filter": {"mustNot": [{"attribute": "a", "exists": True}] * 64}}},
    "many values": {"constraints": {"filter": {"mustNot": [
        {"attribute": "a", "oneOf": {"values": [{"intValue": str(number)} for number in range(1_000)]}}
    ]}}},
    "extreme values": {"constraints": {"filter": {"mustNot": [
        {"attribute": "a", "range": {"greaterOrEqual": {"intValue": str(-(2**63))}}},
        {"attribute": "a", "range": {"less": {"intValue": str(2**63 - 1)}}},
        {"attribute": "a", "equals": {"doubleValue": 1.7976931348623157e308}},
        {"attribute": "a", "equals": {"stringValue": "\0" * 1_000}},
        {"attribute": "a", "range": {"less": {"timeValue": "9999-12-31T23:59:59Z"}}},
        {"attribute": "a", "range": {"greaterOrEqual": {"timeValue": "0001-01-01T00:00:00Z"}}},
    ]}}},
    "the coldest": {"decoding": {"temperature": 0.0, "topP": 1e-38, "topK": 1, "seed": "0", "beamWidth": 1}},
    "next to the coldest": {"decoding": {"temperature": 1.5e-45, "topP": 1.0, "topK": 2**32 - 1}},
    "the hottest": {"decoding": {"temperature": 10.0, "topK": 0, "seed": str(2**64 - 1), "beamWidth": 512}},
    "no items": {"decoding": {"maxItems": 0}},
    "many items": {"decoding": {"maxItems": 64, "maxOutputTokens": 256, "beamWidth": 2}, "options": {"format": 1}},
    "one token": {"decoding": {"maxOutputTokens": 1}},
    "many stops": {"decoding": {"stopSequences": ["x" * 1_000] * 16}},
    "many alternatives": {"options": {"alternatives": 511, "attributes": list(map(str, range(64))), "format": 0}},
    "new items alone": {"options": {"newItemBonus": 10.0}},
    "new items last": {"options": {"newItemBonus": -10.0}},
    "results unset": {"maxResults": 0},
    "many results": {"maxResults": 512},
}  # fmt: skip


def fits(method: str, value: Json) -> bool:
    """Whether the method's request has these fields."""
    names = {field.json_name for field in METHODS[method].DESCRIPTOR.fields}
    return value.keys() <= names


def changed(method: str, value: Json) -> Request:
    request = type(METHODS[method])()
    request.CopyFrom(METHODS[method])
    return json_format.ParseDict(value, request)


def paths(descriptor: Descriptor, before: str = "", around: tuple[Descriptor, ...] = ()) -> Iterator[str]:
    """Every field that holds a value, and every list and map; a filter inside a filter counts as one value."""
    for field in descriptor.fields:
        path = f"{before}{field.name}"
        if field.is_repeated:
            yield f"{path}[]"
        inner = field.message_type
        if inner is None or inner.file.package == "google.protobuf" or inner in around or _is_map(field):
            yield path
        else:
            yield from paths(inner, f"{path}.", (*around, descriptor))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
