"""The demo: a catalog of films, books and artists, simulated users, and a small model trained on both."""
