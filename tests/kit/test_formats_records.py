"""Records of delimited text end where the quotes say, whatever the block sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongqu.core.errors import ReadError
from tongqu.kit.formats import records
from tongqu.kit.formats.records import OPEN, Cut, Records, record_ends

COMMA, QUOTE = ord(","), ord('"')


def cut(block: bytes) -> Cut:
    return record_ends(block, COMMA, QUOTE)


def expected(text: str) -> list[int]:
    """Character by character: a quote opens a field only at its beginning, the next single one closes it."""
    ends, inside, begins, i = [], False, True, 0
    while i < len(text):
        char = text[i]
        if inside:
            if char == '"' and text[i + 1 : i + 2] == '"':
                i += 1
            elif char == '"':
                inside = False
        elif char == '"' and begins:
            inside = True
        elif char == "\n":
            ends.append(i + 1)
        begins = not inside and char in ",\n\r"
        i += 1
    return ends


@given(st.text(alphabet='ab",\n\r', max_size=40))
def test_record_ends_follow_the_rules_of_csv(text: str) -> None:
    assert cut(text.encode()).ends.tolist() == expected(text)


@pytest.mark.parametrize(
    ("text", "regular"),
    [('a,"b\n""c"""\n', True), ('"",""\n', True), ("a,b\n", True), ('5" x\n', False), ('"a"b\n', False)],
)
def test_regular_means_that_every_reader_agrees(text: str, regular: bool) -> None:
    assert cut(text.encode()).regular is regular


@given(
    st.lists(st.sampled_from(["a,b", '"x\ny",1', "", '"q""",2']), max_size=30), st.integers(1, 9), st.integers(1, 30)
)
def test_slices_are_whole_records_in_order(lines: list[str], want: int, block: int) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    blocks = [data[i : i + block] for i in range(0, len(data), block)]
    slices = list(Records(blocks, want, 1 << 20, cut))
    assert b"".join(part for part, _, _ in slices) == data
    assert sum(count for _, count, _ in slices) == len(lines)
    assert all(count <= want for _, count, _ in slices)
    assert all(cut(part).ends[-1] == len(part) for part, _, _ in slices)


def test_the_last_record_may_lack_its_line_end() -> None:
    assert list(Records([b"a\nb"], 5, 100, cut)) == [(b"a\n", 1, True), (b"b", 1, True)]


def test_a_quote_that_is_never_closed_is_told() -> None:
    assert [(part, count) for part, count, _ in Records([b'a\n"b\nc\n'], 5, 100, cut)] == [
        (b"a\n", 1),
        (b'"b\nc\n', OPEN),
    ]


def test_a_record_without_end_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD", 1 << 20)
    with pytest.raises(ReadError, match="longer than") as caught:
        list(Records((b'"x' + b"y" * 100_000 for _ in range(40)), 5, 1 << 22, cut))
    assert "quote" in caught.value.hint
