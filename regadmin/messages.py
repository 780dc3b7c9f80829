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


def _restored(template: str, values: dict) -> Message:
    return Message(template, **values)
