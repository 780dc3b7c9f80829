"""The REST API, compatible with the original's."""
