"""What a model folder says of itself, without loading weights: what whoever only talks to an engine needs to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo_runtime.errors import ModelError
from neo_runtime.sid.codebook import Codebook, fingerprints, load_codebooks

FORMAT = 1


@dataclass(frozen=True, eq=False)
class ModelAbout:
    """`codebooks` in the order in which their codes follow the text tokens."""

    name: str
    note: str
    text_size: int
    codebooks: Mapping[str, Codebook]

    @property
    def fingerprints(self) -> dict[str, str]:
        """Item type to codebook fingerprint."""
        return fingerprints(self.codebooks)

    def save(self, folder: Path) -> None:
        """`neo.json` and the codebooks."""
        for codebook in self.codebooks.values():
            codebook.save(folder / "codebooks")
        types = [{"name": name, "codebook": fingerprint} for name, fingerprint in self.fingerprints.items()]
        header = {
            "format": FORMAT,
            "name": self.name,
            "note": self.note,
            "text_size": self.text_size,
            "item_types": types,
        }
        (folder / "neo.json").write_text(json.dumps(header, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> ModelAbout:
        """ModelError where the folder is missing, incomplete, or not of one piece."""
        header = _read_header(folder)
        codebooks = load_codebooks(folder / "codebooks")
        try:
            named = {entry["name"]: entry["codebook"] for entry in header["item_types"]}
            ordered = {name: codebooks[name] for name in named}
            text_size, name, note = int(header["text_size"]), str(header["name"]), str(header["note"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"{folder}/neo.json and its codebooks do not fit ({error}); restore the folder") from error
        for key, fingerprint in named.items():
            if ordered[key].fingerprint != fingerprint:
                raise ModelError(
                    f"{folder}: codebook of {key!r} is {ordered[key].fingerprint}, neo.json says {fingerprint}"
                )
        return cls(name, note, text_size, ordered)


def _read_header(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelError(f"no model folder {folder}; give one that `NeoModel.save` wrote, or none for the demo model")
    try:
        header: dict[str, Any] = json.loads((folder / "neo.json").read_text())
        if not isinstance(header, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder} is not a NEO model folder: neo.json cannot be read ({error})") from error
    if header.get("format") != FORMAT:
        raise ModelError(f"{folder}/neo.json has format {header.get('format')}, this runtime reads {FORMAT}")
    return header
