"""CSV answers"""

import csv
from io import StringIO

import pytest
from bottle import response

from regadmin.errors import Malformed
from regadmin.web.pages.exports import csv_answer


def written(header, rows) -> list[list[str]]:
    return list(csv.reader(StringIO("".join(csv_answer("list.csv", header, rows)), newline="")))


def test_says_what_it_is():
    csv_answer("list.csv", ["name"], [])
    assert response.content_type == "text/csv; charset=UTF-8; header=present"
    assert response.get_header("Content-Disposition") == 'attachment; filename="list.csv"'
    assert response.get_header("Cache-Control") == "no-store"


def test_quotes_what_needs_it():
    rows = [['a "quoted", one', "two\r\nlines"], ["", None]]
    assert written(["x", "y"], rows) == [["x", "y"], ['a "quoted", one', "two\r\nlines"], ["", ""]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_is_a_formula(start):
    assert written(["x"], [[start + "1+1"], [f"a{start}"]]) == [["x"], [f"'{start}1+1"], [f"a{start}"]]


def test_a_number_stays_a_number():
    assert written(["x"], [[-5], [7]]) == [["x"], ["-5"], ["7"]]


def test_rows_are_read_while_it_is_sent():
    taken = []

    def rows():
        for number in range(10_000):
            taken.append(number)
            yield ["x" * 100, number]

    chunks = csv_answer("list.csv", ["x", "n"], rows())
    first = next(chunks)
    assert 0 < len(taken) < 2000
    assert (first + "".join(chunks)).count("\r\n") == 10_001


def test_an_error_at_the_first_row_is_raised_before_anything_is_sent():
    def rows():
        raise Malformed("cannot sort by this")
        yield

    with pytest.raises(Malformed):
        csv_answer("list.csv", ["x"], rows())
