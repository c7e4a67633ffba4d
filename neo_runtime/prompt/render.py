"""Conversations to tokens: the model's own chat template around user text and item spans.

User text can never become a control or code token: it is encoded apart from the template, with special tokens split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from neo_runtime.errors import FieldViolation, InvalidRequestError
from neo_runtime.model.vocabulary import Vocabulary
from neo_runtime.prompt.message import Conversation
from neo_runtime.types import ItemKey

_REMEMBERED_TEXTS = 65_536
# Stands for part N while the template is rendered; private-use characters, so no template touches it.
_SLOT = re.compile("\ue000(\\d+)\ue001")


class PromptRenderer:
    """Turns conversations into token ids for one model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: Vocabulary, *, remembers: bool = False) -> None:
        """`remembers`: a template is run once for all conversations of one form, and a text is encoded once: most of
        the cost of short prompts in their thousands. Not where a template that names the date must follow it.
        """
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._template_tokens = lru_cache(maxsize=1024)(self._encode_template)
        self._pieces, self._encoded = self._run_template, self._encode
        if remembers:
            self._pieces = lru_cache(maxsize=1024)(self._run_template)
            self._encoded = lru_cache(_REMEMBERED_TEXTS)(self._encode)

    def render(self, conversation: Conversation, sids: Mapping[ItemKey, int]) -> list[int]:
        """Token ids up to where the answer begins, or where the next turn does if the last one is not the user's.
        `sids` holds the packed SID of every item that is named.

        InvalidRequestError where the model's template does not allow the conversation.
        """
        parts = [part for turn in conversation.turns for part in turn.parts]
        pieces = self._pieces(tuple((turn.role, len(turn.parts)) for turn in conversation.turns))
        tokens = list(self._template_tokens(pieces[0]))
        for index, template in zip(pieces[1::2], pieces[2::2], strict=True):
            part = parts[int(index)]
            tokens += self.item(part, sids[part]) if isinstance(part, ItemKey) else self.text(part)
            tokens += self._template_tokens(template)
        return tokens

    def text(self, text: str) -> list[int]:
        """User text: control tokens spelled out in it stay text."""
        return list(self._encoded(text))

    def item(self, key: ItemKey, sid: int) -> list[int]:
        return self._vocabulary.span(key.type, self._vocabulary.spaces[key.type].unpack_one(sid))

    def _run_template(self, form: tuple[tuple[str, int], ...]) -> list[str]:
        """Template texts and numbers of parts by turns, for the role and the number of parts of each message."""
        number = count()
        messages = [
            {"role": role, "content": "".join(f"\ue000{next(number)}\ue001" for _ in range(parts))}
            for role, parts in form
        ]
        try:
            rendered = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=form[-1][0] == "user"
            )
        except TemplateError as error:  # many refuse a system message, or two of one role in a row
            violation = FieldViolation("conversation.messages", f"the model's template says: {error}")
            raise InvalidRequestError([violation], reason="CONVERSATION_UNSUPPORTED") from error
        return _SLOT.split(rendered)

    def _encode(self, text: str) -> Sequence[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return tokens

    def _encode_template(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))
