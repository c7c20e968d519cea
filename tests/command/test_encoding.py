"""An output of any encoding takes whatever is written."""

import io

import pytest
from loratune.command.encoding import PLAIN, write_plainly


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "61\u00a0% – 2 × 8 … ⟦ö⟧ 漢"),
        ("ascii", "61 % - 2 x 8 . [?] ?"),
        ("cp1252", "61\u00a0% – 2 × 8 … [ö] ?"),
    ],
)
def test_what_an_encoding_has_stays_and_the_rest_is_written_plainly(encoding, written):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    write_plainly(stream, io.StringIO())
    stream.write("61\u00a0% – 2 × 8 … ⟦ö⟧ 漢")
    stream.flush()
    assert raw.getvalue().decode(encoding) == written


def test_what_stands_for_a_letter_is_plain():
    assert "".join(PLAIN.values()).isascii()
    assert not any(letter.isascii() for letter in PLAIN)
