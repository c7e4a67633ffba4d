"""HTTP/2 by hand, for what no gRPC client would send: bare sockets, single frames, calls with any header and body."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
SILENCE_S = 0.5
GENERATE = "/neo_runtime.v1.GenerationService/Generate"


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def opening() -> bytes:
    """What a client says first, and its answer to the server's settings."""
    return PREFACE + frame(SETTINGS) + frame(SETTINGS, flags=ACK)


def headers(path: str = GENERATE, **others: str) -> bytes:
    """Those of a gRPC call, uncompressed. `others` replaces or adds some, `_` for `-`."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "worker", "te": "trailers"}
    fields |= {"content-type": "application/grpc"}
    return block(fields | {name.replace("_", "-"): value for name, value in others.items()})


def block(fields: Mapping[str, str]) -> bytes:
    """A header block of literals; no name or value over 126 bytes."""
    texts = [text.encode() for pair in fields.items() for text in pair]
    assert all(len(text) < 127 for text in texts)
    encoded = [bytes([len(text)]) + text for text in texts]
    return b"".join(b"\0" + name + value for name, value in zip(encoded[::2], encoded[1::2], strict=True))


def message(payload: bytes, *, compressed: bool = False, size: int | None = None) -> bytes:
    """As gRPC puts it into DATA. `size`: another one than it has."""
    return bytes([compressed]) + (len(payload) if size is None else size).to_bytes(4) + payload


def call(payload: bytes, path: str = GENERATE, *, stream: int = 1, **others: str) -> bytes:
    """A whole request on an open connection; `payload` is the body with its length in front, or is not."""
    return frame(HEADERS, headers(path, **others), flags=END_HEADERS, stream=stream) + frame(
        DATA, payload, flags=END_STREAM, stream=stream
    )


def noise(rng: random.Random, count: int) -> bytes:
    """Frames of every kind and of none, on any stream, with whatever in them."""
    return b"".join(
        frame(
            rng.choice([*range(10), rng.randrange(256)]), rng.randbytes(rng.choice([0, 4, 5, 8, 60])),
            flags=rng.randrange(256), stream=rng.choice([0, 1, 2, 3, rng.randrange(1 << 31)]),
        )
        for _ in range(count)
    )  # fmt: skip


def send(address: str, content: bytes) -> bytes:
    """What the worker says to `content`, until it ends the call or hangs up, or is silent for a moment."""
    said = b""
    with connect(address) as raw:
        raw.settimeout(SILENCE_S)
        try:
            raw.sendall(content)
            while not is_over(said) and (part := raw.recv(1 << 16)):
                said += part
        except OSError:  # hung up, or silent
            pass
    return said


def is_over(said: bytes) -> bool:
    """Whether the frames end a call, or the connection."""
    while len(said) >= 9:
        size, kind, flags = int.from_bytes(said[:3]), said[3], said[4]
        if kind in (RST_STREAM, GO_AWAY) or (kind == HEADERS and flags & END_STREAM):
            return True
        said = said[9 + size :]
    return False
