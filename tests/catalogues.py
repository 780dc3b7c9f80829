"""The catalogues of the languages, made from the texts in the code. `make translations` brings them up to date.

regadmin/translations/<language>.po is for translators (GNU gettext); the .mo beside it is what the server reads.
"""

from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from regadmin.languages import ENGLISH, LANGUAGES

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "regadmin" / "translations"
CODES = [code for code in LANGUAGES if code != ENGLISH.code]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "Message": None, "unavailable": None}
SOURCES = [("regadmin/**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"silent": "false", "trimmed": "true", "newstyle_gettext": "true"}}


def texts() -> Catalog:
    """All that can be translated."""
    catalogue = Catalog(project="regadmin")
    inside = {"regadmin", "templates"}
    found = extract_from_dir(
        ROOT, SOURCES, OPTIONS, KEYWORDS, directory_filter=lambda path: bool(inside & set(Path(path).parts))
    )
    for filename, line, text, _, context in sorted(found, key=lambda entry: entry[:2]):
        catalogue.add(text, locations=[(filename, line)], context=context)
    return catalogue


def read(code: str) -> Catalog:
    path = FOLDER / f"{code}.po"
    locale = code.replace("-", "_")
    if not path.exists():
        header = f"# {LANGUAGES[code].name}"
        return Catalog(locale, project="RegistryAdmin", version="", header_comment=header, fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale)


def compiled(catalogue: Catalog) -> bytes:
    binary = BytesIO()
    write_mo(binary, catalogue)
    return binary.getvalue()


def update(code: str, wanted: Catalog) -> int:
    """Add what is new, drop what is gone, and compile. Returns how many texts wait for a translation."""
    catalogue = read(code)
    catalogue.update(wanted, no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    with (FOLDER / f"{code}.po").open("wb") as file:
        write_po(file, catalogue, width=120, no_location=True, sort_output=True)
    (FOLDER / f"{code}.mo").write_bytes(compiled(read(code)))
    return sum(1 for message in catalogue if message.id and not all(_forms(message.string)))


def _forms(text: str | tuple[str, ...]) -> tuple[str, ...]:
    return text if isinstance(text, tuple) else (text,)


if __name__ == "__main__":
    everything = texts()
    for code in CODES:
        print(f"{code}: {update(code, everything)} of {len(everything)} texts wait for a translation")
