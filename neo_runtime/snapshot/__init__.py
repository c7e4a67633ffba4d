"""Immutable copies of a catalog, the aliases that say which is served, and the swap. No torch, gRPC or Kafka."""
