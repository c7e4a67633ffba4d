"""From the setting that names an embedder to the embedder. torch is imported only where the choice needs it."""

from __future__ import annotations

from pathlib import Path

from neo_runtime.embed.base import Embedder
from neo_runtime.errors import ModelError

# Of one fitted on the items; beside `codebooks`, in a model's folder as in a catalog's.
EMBEDDER_FOLDER = "embedder"


def load_folder(folder: Path) -> Embedder:
    """Whatever kind lies there. ModelError where none does."""
    from neo_runtime.embed.mixed import MIXED_FILE, MixedEmbedder

    if (folder / MIXED_FILE).exists():
        return MixedEmbedder.load(folder)
    return load_embedder(f"lexical:{folder}")


def load_embedder(spec: str, *, device: str = "cpu") -> Embedder:
    """`minilm`, `lexical:FOLDER`, `mixed:FOLDER` or `st:NAME_OR_FOLDER`. ModelError says what to install or to do."""
    kind, colon, place = spec.partition(":")
    match kind, bool(colon), bool(place):
        case "minilm", False, False:
            from neo_runtime.embed.transformer import TransformerEmbedder

            return TransformerEmbedder.minilm(device)
        case "lexical", True, True:
            from neo_runtime.embed.lexical import LexicalEmbedder

            return LexicalEmbedder.load(Path(place))
        case "mixed", True, True:
            from neo_runtime.embed.mixed import MixedEmbedder

            return MixedEmbedder.load(Path(place))
        case "st", True, True:
            from neo_runtime.embed.transformer import SentenceTransformerEmbedder

            return SentenceTransformerEmbedder(place, device=device)
    raise ModelError(
        f"unknown embedder {spec!r}: write minilm, lexical:FOLDER, mixed:FOLDER or st:NAME_OR_FOLDER",
        reason="EMBEDDER_UNUSABLE",
    )
