"""Sentences for people, which a page can say again in the reader's language."""


class Message(str):
    """An English sentence that remembers what it was made of.

    It is a plain string for logs and for the API. `template` is the key in the catalogues of languages;
    its places are written as in `%(name)s`, and `values` fills them. A value may be a Message too.
    """

    __slots__ = ("template", "values")

    def __new__(cls, template: str, /, **values) -> "Message":
        self = super().__new__(cls, template % values)
        self.template = template
        self.values = values
        return self

    def __reduce__(self):
        return _restored, (self.template, self.values)


def printable(text: str) -> str:
    """The same without what would command a terminal or begin a line: texts of files may hold it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def packed(value: object) -> object:
    """The same for JSON: in place of each Message what it was made of."""
    if isinstance(value, Message):
        return {"template": value.template, "values": packed(dict(value.values))}
    if isinstance(value, dict):
        return {"dict": {name: packed(inner) for name, inner in value.items()}}
    return [packed(inner) for inner in value] if isinstance(value, list | tuple) else value


def unpacked(value: object) -> object:
    """The opposite of `packed`."""
    if isinstance(value, list):
        return [unpacked(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: unpacked(inner) for name, inner in value["dict"].items()}
    template, values = value["template"], unpacked(value["values"])
    return Message(template, **values)


def _restored(template: str, values: dict) -> Message:
    return Message(template, **values)
