"""The demo: a catalog of films, books and artists, simulated users, and a small model trained on both."""

from pathlib import Path

DEMO_CATALOG = Path(__file__).parent / "catalog"
DEMO_MODEL = Path(__file__).parent / "model"
