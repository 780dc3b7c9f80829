"""What comes from a file is changed in the file, and nowhere else."""

from regadmin.entities import Actor, Group, Rule, User
from regadmin.errors import Forbidden
from regadmin.messages import Message


def why_not_change(row: User | Group | Rule) -> str:
    """The reason why nobody can change or delete it here, or ''."""
    return Message("this comes from the file %(file)s, and is changed there", file=row.source) if row.source else ""


def refuse_change(row: User | Group | Rule, by: Actor) -> None:
    """Raises Forbidden, unless it is a file that asks."""
    if row.source and not by.is_file:
        raise Forbidden(why_not_change(row))
