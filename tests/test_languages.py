"""The languages of the pages: who reads which, and whether the catalogues are whole."""

import re
from collections import Counter

import pytest

from regadmin.languages import ENGLISH, LANGUAGES, choose
from regadmin.messages import Message
from tests import catalogues

PLACE = re.compile(r"%\(\w+\)s|%%")
MARKUP = re.compile(r"</?\w+[^>]*>")


@pytest.fixture(scope="module")
def everything() -> dict:
    """The texts of the code."""
    return {message.id: message for message in catalogues.texts() if message.id}


def forms(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return text if isinstance(text, tuple) else (text,)


def translations(code: str):
    """Each text with its translation."""
    for message in catalogues.read(code):
        if message.id:
            yield forms(message.id), forms(message.string)


@pytest.mark.parametrize("code", catalogues.CODES)
class TestCatalogue:
    def test_it_holds_exactly_the_texts_of_the_code(self, code, everything):
        assert {message.id for message in catalogues.read(code) if message.id} == set(everything)

    def test_every_text_is_translated(self, code):
        assert [source for source, texts in translations(code) if not all(texts)] == []

    def test_places_are_those_of_the_source(self, code):
        for source, texts in translations(code):
            wanted = Counter(PLACE.findall(source[-1]))
            for text in texts:
                assert Counter(PLACE.findall(text)) == wanted, text
                assert "%" not in PLACE.sub("", text), text

    def test_markup_is_that_of_the_source(self, code):
        for source, texts in translations(code):
            for text in texts:
                assert Counter(MARKUP.findall(text)) == Counter(MARKUP.findall(source[-1])), text

    def test_what_the_server_reads_is_what_translators_wrote(self, code):
        compiled = catalogues.compiled(catalogues.read(code))
        assert (catalogues.FOLDER / f"{code}.mo").read_bytes() == compiled, "run `make translations`"


def test_no_text_stands_alone_that_also_has_a_plural(everything):
    """Where a language has one form for all numbers, its place for the number would stay empty."""
    alone = {id for id in everything if isinstance(id, str)}
    assert alone.isdisjoint(id[0] for id in everything if isinstance(id, tuple))


@pytest.mark.parametrize(
    ("wishes", "accepted", "code"),
    [
        (("ko", "ru"), "ja", "ko"),
        (("", "ru"), "ja", "ru"),
        (("", ""), "ja", "ja"),
        (("", "xx"), "ja,en;q=0.5", "ja"),
        ((), "fr-CH, fr;q=0.9, ru;q=0.8, en;q=0.7", "ru"),
        ((), "en;q=0.3, KO-kr;q=0.9", "ko"),
        ((), "zh-TW", "zh-CN"),
        ((), "ko;q=0, en", "en"),
        ((), "ko;q=what, ja", "ja"),
        ((), "*", "en"),
        ((), "", "en"),
        ((), "," * 10000, "en"),
    ],
)
def test_account_then_cookie_then_browser_choose_the_language(wishes, accepted, code):
    assert choose(*wishes, accepted=accepted) == LANGUAGES[code]


def test_a_message_is_its_english_sentence_for_everybody_else():
    message = Message("there is no group %(group)s", group="a % b")
    assert message == "there is no group a % b"
    assert ENGLISH.say(message) == message


def test_russian_has_three_forms_for_numbers():
    russian = LANGUAGES["ru"]
    one, few, many, again = (
        russian.ngettext("%(count)s tag", "%(count)s tags", number) for number in (1, 2, 5, 21)
    )
    assert len({one, few, many}) == 3
    assert again == one


def test_a_message_is_said_in_another_language_with_its_values():
    russian = LANGUAGES["ru"]
    said = russian.say(Message("%(where)s holds too many fields", where=Message("the form")))
    assert said != Message("%(where)s holds too many fields", where=Message("the form"))
    assert russian.gettext("the form") in said


def test_numbers_are_written_as_readers_expect():
    assert LANGUAGES["en"].number(1234567.8, 1) == "1,234,567.8"
    assert LANGUAGES["ru"].number(1234567.8, 1) == "1\xa0234\xa0567,8"
