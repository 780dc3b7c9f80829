"""Forms: reading their fields, and saying what is wrong with them."""

from regadmin.errors import Conflict, Error, Forbidden, Invalid

REFUSALS = (Invalid, Conflict, Forbidden)
"""What leads back to the form, with all that was filled in."""


def text(form: dict[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0].replace("\r\n", "\n").strip()


def numbers(form: dict[str, list[str]], name: str) -> list[int]:
    """The ids among the values; what is no id was not chosen in our form."""
    values = form.get(name, [])
    return [int(value) for value in values if value.isascii() and value.isdigit() and len(value) <= 15]


def problems(error: Error) -> dict[str, str]:
    """What is wrong, by the name of the field; '' stands for the form itself."""
    return error.fields if isinstance(error, Invalid | Conflict) else {"": error.message}


def status(error: Error) -> int:
    return 403 if isinstance(error, Forbidden) else 422
