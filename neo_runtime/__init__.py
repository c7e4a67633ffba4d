"""NEO Runtime: one language model that answers in text and in items of a live catalog."""

__version__ = "0.1.0"
