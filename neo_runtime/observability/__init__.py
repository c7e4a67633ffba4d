"""Logs and metrics: every name in one place."""
