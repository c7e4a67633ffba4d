"""Tokens to text that no later token changes: UTF-8 safe, and held back where a stop sequence may be beginning."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase


class TextStream:
    """`push` returns what may be sent; `stopped_by` is set once a stop sequence is met, and nothing follows it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_sequences: Sequence[str]) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stops = tuple(stop_sequences)
        self._held = ""
        self.stopped_by = ""

    def push(self, token: int) -> str:
        self._held += self._stream.step(self._tokenizer, token) or ""
        found = [(place, stop) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            place, self.stopped_by = min(found)
            text, self._held = self._held[:place], ""
            return text
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def flush(self) -> str:
        """What was held back for a stop sequence that did not come."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
