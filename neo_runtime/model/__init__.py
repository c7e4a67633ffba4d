"""Models: any Hugging Face decoder, extended with span markers and code tokens."""
