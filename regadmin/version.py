"""The version of this release, kept apart so that a build can read it without running anything."""

__version__ = "0.1.0"
