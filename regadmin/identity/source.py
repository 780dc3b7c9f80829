"""The contract of a source of identity: somebody else who knows logins and passwords.

    service   an HTTP service that gets Basic credentials and answers with rules
    program   a program that gets credentials on its standard input and answers by its exit status
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from regadmin.entities import Rule
from regadmin.errors import SourceUnavailable
from regadmin.messages import Message

TIMEOUT = 5.0
"""Seconds within which a source must have answered."""

CANNOT_TELL = Message("your login cannot be checked now; try again later")
"""For whoever sent the credentials. Why it cannot be checked is for the owner."""


@dataclass(frozen=True, slots=True)
class Person:
    """What a source says of somebody whose credentials are right: names of groups, and rules of his own.

    His login is the one that was asked about: no source can make him another one.
    """

    groups: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


class Source(ABC):
    """May be asked by several threads at once.

    Whoever asks waits TIMEOUT seconds and no longer; a source should have given up by itself by then, for the thread in
    which it is asked is not free before. `name` is what the owner calls it, `place` where it is.
    """

    name: Message
    place: str

    @abstractmethod
    def authenticate(self, login: str, password: str) -> Person | None:
        """Whom the credentials belong to. None: not to anybody known here, so that the next source is asked.

        Raises Unauthenticated if no other source may be asked, and SourceUnavailable unless the answer is certain.
        """

    @abstractmethod
    def check(self) -> None:
        """Whether it can be asked, found out without any credentials. Raises SourceUnavailable."""


def unavailable(sentence: str, /, **values) -> SourceUnavailable:
    """`sentence` is a constant, and tells the owner what is wrong."""
    return SourceUnavailable(CANNOT_TELL, Message(sentence, **values))
