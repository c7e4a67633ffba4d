"""From a client's keyword arguments to request messages; the same for both clients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from neo_runtime.client.filters import Where, filter_message
from neo_runtime.types import ItemKey
from neo_runtime.v1 import catalog_pb2, constraint_pb2
from neo_runtime.v1 import generation_service_pb2 as pb

Part = str | ItemKey
Prompt = str | Sequence[Part]
TaskName = Literal["recommend", "retrieve", "explain", "understand"]
Format = Literal["mixed", "items", "text"]

_FORMATS: dict[str, pb.ResponseOptions.Format] = {
    "mixed": pb.ResponseOptions.FORMAT_UNSPECIFIED,
    "items": pb.ResponseOptions.FORMAT_ITEMS_ONLY,
    "text": pb.ResponseOptions.FORMAT_TEXT_ONLY,
}


def item_ref(key: ItemKey) -> catalog_pb2.ItemRef:
    return catalog_pb2.ItemRef(item_type=key.type, item_id=key.id)


def contents(prompt: Prompt) -> list[pb.Content]:
    """A text, or parts of text and items."""
    parts = [prompt] if isinstance(prompt, str) else prompt
    return [pb.Content(item=item_ref(p)) if isinstance(p, ItemKey) else pb.Content(text=p) for p in parts]


def task(name: TaskName, item_type: str, subject: Prompt) -> pb.TaskPrompt:
    return pb.TaskPrompt(task=f"TASK_{name.upper()}", item_type=item_type, subject=contents(subject) if subject else ())


def conversation(prompt: Prompt) -> pb.Conversation:
    """One message of the user."""
    return pb.Conversation(messages=[pb.Message(role=pb.Message.ROLE_USER, contents=contents(prompt))])


def warm(later: pb.RankItemsRequest | pb.GenerateRequest) -> pb.WarmRequest:
    """What makes the prompt of a later request."""
    request = pb.WarmRequest(model=later.model, user=later.user)
    if later.HasField("task"):
        request.task.CopyFrom(later.task)
    else:
        request.conversation.CopyFrom(later.conversation)
    return request


def user(history: Iterable[ItemKey], region: str) -> pb.UserContext:
    interactions = [pb.UserContext.Interaction(item=item_ref(key)) for key in history]
    return pb.UserContext(history=interactions, features={"region": region} if region else {})


def constraints(
    item_types: Iterable[str],
    allow: Iterable[ItemKey],
    deny: Iterable[ItemKey],
    exclude_history: bool | None,
    where: Where | None,
    named_filters: Iterable[str],
) -> constraint_pb2.ConstraintSpec:
    return constraint_pb2.ConstraintSpec(
        item_types=list(item_types),
        allow_items=[item_ref(key) for key in allow],
        deny_items=[item_ref(key) for key in deny],
        exclude_history=exclude_history,
        filter=filter_message(where),
        named_filters=list(named_filters),
    )


def options(
    attributes: Iterable[str],
    include_sids: bool,
    new_item_bonus: float,
    alternatives: int = 0,
    output: Format = "mixed",
) -> pb.ResponseOptions:
    return pb.ResponseOptions(
        attributes=list(attributes), include_sids=include_sids, new_item_bonus=new_item_bonus,
        alternatives=alternatives, format=_FORMATS[output],
    )  # fmt: skip
