"""The demo's own world: a catalog of known films, books and artists, simulated users, and a small model of both."""
