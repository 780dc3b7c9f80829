"""The languages of the pages: which there are, who reads which, and their catalogues (GNU gettext)."""

from dataclasses import dataclass
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files

from regadmin.messages import Message


@dataclass(frozen=True, slots=True)
class Language:
    """`code` is its BCP 47 tag, `name` what its readers call it; the rest are its marks in numbers and sentences."""

    code: str
    name: str
    grouping: str = ","
    decimal: str = "."
    full_stop: str = "."

    def gettext(self, text: str) -> str:
        return _catalogue(self.code).gettext(text)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """`number` chooses the form, by the plural rules of the language."""
        return _catalogue(self.code).ngettext(one, many, number)

    def say(self, text: str) -> str:
        """What a Message says, in this language; any other text as it is."""
        if not isinstance(text, Message):
            return text
        return self.gettext(text.template) % {name: self.say(value) for name, value in text.values.items()}

    def number(self, value: float, decimals: int = 0) -> str:
        return f"{value:,.{decimals}f}".translate({ord(","): self.grouping, ord("."): self.decimal})


ENGLISH = Language("en", "English")
LANGUAGES = {
    language.code: language
    for language in (
        ENGLISH,
        Language("ru", "Русский", "\N{NO-BREAK SPACE}", ","),
        Language("ko", "한국어"),
        Language("zh-CN", "简体中文", full_stop="。"),
        Language("ja", "日本語", full_stop="。"),
    )
}


def choose(*wishes: str, accepted: str = "") -> Language:
    """The first wish that is the code of a language; else what a browser's Accept-Language (RFC 9110) prefers."""
    for wish in wishes:
        if wish in LANGUAGES:
            return LANGUAGES[wish]
    return next(filter(None, map(_nearest, _by_preference(accepted))), ENGLISH)


def _by_preference(accepted: str) -> list[str]:
    weighed = []
    for part in accepted[:500].split(","):
        tag, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0
        if weight > 0:
            weighed.append((weight, tag.strip().lower()))
    return [tag for _, tag in sorted(weighed, key=lambda pair: -pair[0])]


def _nearest(tag: str) -> Language | None:
    """By the primary subtag: somebody who reads zh-TW is better served by zh-CN than by English."""
    primary = tag.partition("-")[0]
    return next((known for code, known in LANGUAGES.items() if code.lower().partition("-")[0] == primary), None)


@cache
def _catalogue(code: str) -> NullTranslations:
    if code == ENGLISH.code:
        return NullTranslations()
    with files("regadmin.translations").joinpath(f"{code}.mo").open("rb") as file:
        return GNUTranslations(file)
