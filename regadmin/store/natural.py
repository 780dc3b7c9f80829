"""The order in which people expect versions."""

import re

_NUMBER = re.compile(r"0*([0-9]+)", re.ASCII)


def natural_key(name: str) -> str:
    """What a name is sorted by as text, so that 1.9 comes before 1.10 and case does not count.

    Each number follows its own length, three digits wide: a tag holds at most 128 characters.
    """
    return _NUMBER.sub(lambda found: f"{len(found[1]):03}{found[1]}", name.lower())
