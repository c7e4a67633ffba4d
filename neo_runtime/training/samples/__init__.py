"""Task families of the stages, each a numbered stream of samples, and their mixture."""
