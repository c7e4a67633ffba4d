"""Grounded decoding: text and spans from one model, every span on one catalog generation."""
