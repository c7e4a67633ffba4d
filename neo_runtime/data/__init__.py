"""Interactions and queries of anyone's users: read from a folder, checked, split, sliced. numpy alone."""
