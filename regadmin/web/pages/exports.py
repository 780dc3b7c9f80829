"""Lists as files for a spreadsheet."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import chain

from bottle import response

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_CHUNK = 64 * 1024


def csv_answer(filename: str, header: Sequence[str], rows: Iterable[Sequence]) -> Iterator[str]:
    """A CSV file (RFC 4180) as the answer, written while `rows` are read.

    The first rows are read at once, so that an error which they raise still becomes a page.
    """
    chunks = _chunks(header, rows)
    first = next(chunks)
    response.content_type = "text/csv; charset=UTF-8; header=present"
    response.set_header("Content-Disposition", f'attachment; filename="{filename}"')
    response.set_header("Cache-Control", "no-store")
    response.add_header("Vary", "Cookie")
    return chain([first], chunks)


def _chunks(header: Sequence[str], rows: Iterable[Sequence]) -> Iterator[str]:
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        if text.tell() >= _CHUNK:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is marked as text, as OWASP's "CSV Injection" asks for."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
