"""Language models as teachers: one from a local folder, and any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from neo_runtime.errors import StartupError
from neo_runtime.training.teacher import Ask, Progress, question

MOST_ANSWER_TOKENS = 96


class LocalTeacher:
    """Any Hugging Face decoder with a chat template, by folder or hub name; greedy, so answers repeat themselves."""

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            self._lm = AutoModelForCausalLM.from_pretrained(model).to(device).eval()
        except (OSError, ValueError) as error:
            raise StartupError(f"teacher {model!r}: no model can be loaded from there ({error})") from error
        self.name = f"local:{model}"

    def answers(self, asks: Sequence[Ask], progress: Progress = lambda *_: None) -> list[str]:
        found = []
        for done, ask in enumerate(asks, start=1):
            found.append(self._answer(question(ask)))
            progress(done, len(asks))
        return found

    def _answer(self, text: str) -> str:
        import torch

        inputs = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._lm.device)
        with torch.inference_mode():
            tokens = self._lm.generate(**inputs, max_new_tokens=MOST_ANSWER_TOKENS, do_sample=False)
        answer = self._tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return " ".join(answer.split())


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
