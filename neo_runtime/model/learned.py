"""The tuples that a model was trained on, kept in its folder: what is published later scores by them.

See `neo_runtime/trie/learned.py`. A folder without the file scores every tuple as the model does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from neo_runtime.errors import ModelError
from neo_runtime.sid.space import Keys, SidSpace

LEARNED_FILE = "learned.safetensors"


def save_learned(folder: Path, learned: Mapping[str, Keys]) -> None:
    """By item type: packed tuples uint64 [n], strictly ascending. Where there are none, no file stays from before."""
    if learned:
        save_file(dict(learned), folder / LEARNED_FILE)
    else:
        (folder / LEARNED_FILE).unlink(missing_ok=True)


def load_learned(folder: Path, spaces: Mapping[str, SidSpace]) -> dict[str, Keys]:
    """Empty where there is no file. ModelError where it is broken or of other semantic IDs."""
    file = folder / LEARNED_FILE
    if not file.exists():
        return {}
    try:
        learned: dict[str, Keys] = load_file(file)
        for item_type, keys in learned.items():
            if not _are_tuples(keys, spaces[item_type]):
                raise ValueError(f"those of {item_type!r} are not sorted tuples of its codebook")
    except Exception as error:  # of the file, of safetensors, or a type that the model does not have
        raise ModelError(f"{file} cannot be used ({error}); restore the folder, or do without the file") from error
    return learned


def _are_tuples(keys: Keys, space: SidSpace) -> bool:
    if keys.dtype != np.uint64 or keys.ndim != 1 or not len(keys):
        return False
    codes = space.unpack(keys)
    return bool(
        (keys[1:] > keys[:-1]).all() and (codes < space.level_sizes).all() and (space.pack(codes) == keys).all()
    )


def joined(learned: Mapping[str, Keys], others: Mapping[str, Keys]) -> dict[str, Keys]:
    """What either has."""
    none = np.empty(0, np.uint64)
    return {
        name: np.union1d(learned.get(name, none), others.get(name, none))
        for name in sorted(learned.keys() | others.keys())
    }
