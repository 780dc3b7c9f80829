"""Signing keys and certificates."""
