"""Conversations to tokens: the model's own chat template around user text and item spans.

User text can never become a control or code token: it is encoded apart from the template, with special tokens split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from neo_runtime.errors import FieldViolation, InvalidRequestError
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.prompt.message import Conversation
from neo_runtime.types import ItemKey

# Stands for part N while the template is rendered; private-use characters, so no template touches it.
_SLOT = re.compile("\ue000(\\d+)\ue001")


class PromptRenderer:
    """Turns conversations into token ids for one model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary) -> None:
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._template_tokens = lru_cache(maxsize=1024)(self._encode_template)

    def render(self, conversation: Conversation, sids: Mapping[ItemKey, int]) -> list[int]:
        """Token ids up to where the answer begins, or where the next turn does if the last one is not the user's.
        `sids` holds the packed SID of every item that is named.

        InvalidRequestError where the model's template does not allow the conversation.
        """
        parts = [part for turn in conversation.turns for part in turn.parts]
        number = iter(range(len(parts)))
        messages = [
            {"role": turn.role, "content": "".join(f"\ue000{next(number)}\ue001" for _ in turn.parts)}
            for turn in conversation.turns
        ]
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=conversation.turns[-1].role == "user"
            )
        except TemplateError as error:  # many refuse a system message, or two of one role in a row
            violation = FieldViolation("conversation.messages", f"the model's template says: {error}")
            raise InvalidRequestError([violation], reason="CONVERSATION_UNSUPPORTED") from error
        pieces = _SLOT.split(rendered)
        tokens = list(self._template_tokens(pieces[0]))
        for index, template in zip(pieces[1::2], pieces[2::2], strict=True):
            part = parts[int(index)]
            tokens += self.item(part, sids[part]) if isinstance(part, ItemKey) else self.text(part)
            tokens += self._template_tokens(template)
        return tokens

    def text(self, text: str) -> list[int]:
        """User text: control tokens spelled out in it stay text."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return tokens

    def item(self, key: ItemKey, sid: int) -> list[int]:
        return self._vocabulary.span(key.type, self._vocabulary.spaces[key.type].unpack_one(sid))

    def _encode_template(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))
