"""Generated from protos/neo_runtime/v1; `make proto` writes it, nobody edits it."""
