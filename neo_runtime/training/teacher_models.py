"""Language models as teachers: one from a local folder, and any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from neo_runtime.errors import StartupError
from neo_runtime.training.teacher import Ask, Progress, question

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_ANSWER_TOKENS = 96


class LocalTeacher:
    """Any Hugging Face decoder with a chat template, by folder or hub name; greedy, so answers repeat themselves.

    Loaded when it is first asked, on a GPU where there is one: with several processes, or all answers kept from an
    earlier run, most never ask.
    """

    def __init__(self, model: str, *, at_once: int = 16) -> None:
        self.name = f"local:{model}"
        self._model, self._at_once = model, at_once

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        """StartupError where no decoder can be loaded."""
        found = list[str]()
        for first in range(0, len(asks), self._at_once):
            found += self._answered([question(ask) for ask in asks[first : first + self._at_once]])
            progress(len(found), len(asks))
        return found

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._model, padding_side="left")
            lm = AutoModelForCausalLM.from_pretrained(self._model)
        except (OSError, ValueError) as error:
            raise StartupError(f"teacher {self._model!r}: no model can be loaded from there ({error})") from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return lm.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer

    def _answered(self, texts: Sequence[str]) -> list[str]:
        import torch

        lm, tokenizer = self._loaded
        inputs = tokenizer.apply_chat_template(
            [[{"role": "user", "content": text}] for text in texts], add_generation_prompt=True, return_tensors="pt",
            return_dict=True, padding=True,
        ).to(lm.device)  # fmt: skip
        with torch.inference_mode():
            tokens = lm.generate(**inputs, max_new_tokens=MOST_ANSWER_TOKENS, do_sample=False)
        answers = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [" ".join(answer.split()) for answer in answers]


class _BusyError(Exception):
    """Worth asking again: the endpoint is busy, failing or out of reach."""


class EndpointTeacher:
    """POST {url}/chat/completions, a few at a time. What may be a passing failure is tried again, longer and longer."""

    def __init__(
        self, url: str, model: str, *, key: str = "", at_once: int = 8, attempts: int = 6, timeout_s: float = 60.0,
        wait_s: float = 1.0,
    ) -> None:  # fmt: skip
        self._parts = urlsplit(url)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise StartupError(f"teacher endpoint {url!r} is no address; write https://HOST/v1")
        self._url, self._model, self._key = url.rstrip("/"), model, key
        self._at_once, self._timeout_s = at_once, timeout_s
        self._retrying = Retrying(
            retry=retry_if_exception_type(_BusyError),
            wait=wait_random_exponential(multiplier=wait_s, max=60 * wait_s),
            stop=stop_after_attempt(attempts),
            reraise=True,
        )
        self.name = f"endpoint:{model}"

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        """StartupError where the endpoint refuses, or goes on failing."""
        found = []
        with ThreadPoolExecutor(self._at_once) as threads:
            for done, answer in enumerate(threads.map(self._answer, asks), start=1):
                found.append(answer)
                progress(done, len(asks))
        return found

    def _answer(self, ask: Ask) -> str:
        body = {
            "model": self._model, "messages": [{"role": "user", "content": question(ask)}], "temperature": 0,
            "max_tokens": MOST_ANSWER_TOKENS,
        }  # fmt: skip
        try:
            reply = self._retrying.copy()(self._post, json.dumps(body).encode())
        except _BusyError as error:
            raise StartupError(
                f"teacher endpoint {self._url}: {error}; what it answered is kept, run again to go on"
            ) from error
        try:
            return " ".join(str(reply["choices"][0]["message"]["content"]).split())
        except (KeyError, IndexError, TypeError) as error:
            raise StartupError(f"teacher endpoint {self._url} gave no chat completion: {reply}") from error

    def _post(self, body: bytes) -> Mapping[str, Any]:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout_s)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        try:
            connection.request("POST", f"{self._parts.path.rstrip('/')}/chat/completions", body, headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise _BusyError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if response.status == 429 or response.status >= 500:
            raise _BusyError(f"status {response.status}: {text[:200]}")
        if response.status != 200:
            raise StartupError(f"teacher endpoint {self._url} refused with status {response.status}: {text[:200]}")
        try:
            reply: Mapping[str, Any] = json.loads(text)
        except ValueError as error:
            raise _BusyError(f"not JSON: {text[:200]}") from error
        return reply
