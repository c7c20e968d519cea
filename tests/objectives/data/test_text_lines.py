"""Which encoding a file may be in: what decodes anything is offered last."""

from __future__ import annotations

from pathlib import Path

import pytest
from loratune.errors import DataError
from loratune.objectives.data import text_lines
from loratune.objectives.data.text_lines import likely_encodings, pieces


@pytest.mark.parametrize(
    ("text", "encoding", "likely"),
    [
        ('{"text": "你好，世界"}', "gb18030", ["gb18030"]),
        ('{"text": "中文的句子，有很多字。"}', "gbk", ["gb18030"]),
        ('{"text": "für Grüße aus Köln"}', "cp1252", ["cp1252", "gb18030"]),
        ('{"text": "« déjà vu »"}', "latin-1", ["cp1252"]),
        ('{"text": "für"}', "utf-16", ["utf-16"]),
    ],
)
def test_the_likeliest_encoding_comes_first(
    tmp_path: Path, text: str, encoding: str, likely: list[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text.encode(encoding))
    found = likely_encodings(path)
    assert found[: len(likely)] == likely
    assert found.index("latin-1" if "latin-1" in found else found[-1]) == len(found) - 1
    with pytest.raises(DataError) as caught:
        list(pieces(path, "utf-8", newline="\n"))
    words = str(caught.value)
    assert words.startswith("a.jsonl is not utf-8: byte ")
    assert words.index(f"such as {likely[0]}")
    assert "latin-1" not in words or words.endswith("latin-1")


@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize("before", ["", "one\ntwo é\n", "\ufeff\n"])
def test_the_byte_is_that_of_the_file_whatever_it_is_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, before: str
) -> None:
    monkeypatch.setattr(text_lines, "BLOCK", block)
    path = tmp_path / "a.jsonl"
    start = before.encode()
    for spoiled in (b"\xff and on\n", b"\xe4\xb8"):
        path.write_bytes(start + "世".encode() + spoiled)
        line = before.count("\n") + 1
        with pytest.raises(DataError) as caught:
            list(pieces(path, "utf-8", newline="\n"))
        assert f"byte {len(start) + 3} (line {line})" in str(caught.value)
