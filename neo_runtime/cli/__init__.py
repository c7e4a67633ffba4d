"""The `neo` command: what people and scripts use; no logic of its own."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read as gRPC is imported; its core would add lines of its own to ours
