"""Wait until workers serve what the aliases say."""

from __future__ import annotations

import time
from collections.abc import Sequence

from neo_runtime.client import CallError, NeoClient

_PAUSE_S = 0.1


def wait_for(addresses: Sequence[str], sequence: int, seconds: float) -> dict[str, str]:
    """Workers that do not serve move `sequence` within `seconds`, with the reason that they give; none: all do."""
    deadline = time.monotonic() + seconds
    late = dict.fromkeys(addresses, "not asked")
    while late and time.monotonic() < deadline:
        late = {address: why for address in late if (why := _why_not(address, sequence))}
        if late:
            time.sleep(_PAUSE_S)
    return late


def _why_not(address: str, sequence: int) -> str:
    try:
        with NeoClient(address, timeout_s=5) as client:
            info = client.serving_info()
    except CallError as error:
        return str(error)
    if info.alias_sequence >= sequence:
        return ""
    return info.swap_failure or f"still at move {info.alias_sequence}, on {info.catalog.snapshot}"
