"""What people say in one breath, a line each in the files beside this one: by many hands.

{history}: the user's items; {type}: the wanted type with its article.
"""

from __future__ import annotations

from importlib import resources


def _lines(name: str) -> tuple[str, ...]:
    return tuple((resources.files(__name__) / f"{name}.txt").read_text("utf-8").splitlines())


REQUESTS = _lines("requests")
"""For an item. Each has {history} and {type} once."""
REASONS = _lines("reasons")
"""Behind a request: so that a reason comes with the item."""
PROFILES = _lines("profiles")
"""For a user in words. Each has {history} once."""
SENTENCES = _lines("sentences")
"""Beside a request: none changes what is wanted."""
BEGINNINGS = _lines("beginnings")
"""Before one: none changes it either."""
