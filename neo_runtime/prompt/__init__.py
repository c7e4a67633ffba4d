"""Prompts: from messages, tasks and items to token ids."""
