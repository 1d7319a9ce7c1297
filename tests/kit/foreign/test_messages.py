"""Records are cut out of their messages byte for byte, whatever stands around them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import AnswerError
from tongqu.kit.foreign.messages import Records, State
from tongqu.kit.foreign.process import whole_lines
from tongqu.kit.foreign.singer import Singer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["record", "type", "time_extracted", "a", 'b"}']), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.sampled_from(["id", "record", "version", "time_extracted", "}"]), VALUES, max_size=4)
MORE = st.sampled_from(
    [{}, {"time_extracted": "2026-01-01T00:00:00Z"}, {"version": 5}, {"time_extracted": "x}", "version": 1}]
)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(RECORDS, MORE, st.booleans(), st.sampled_from([(", ", ": "), (",", ":")]), st.booleans()), max_size=8
    ),
    st.integers(1, 60),
)
def test_every_record_comes_out_as_it_went_in(records: Any, size: int) -> None:
    lines = []
    for record, more, last, separators, ascii_ in records:
        parts = {"type": "RECORD", "stream": "s", "record": record, **more}
        message = {"stream": "s", **{k: parts[k] for k in parts if k != "record"}, "record": record} if last else parts
        lines.append(json.dumps(message, separators=separators, ensure_ascii=ascii_).encode() + b"\n")
    text = b"".join(lines)
    blocks = (text[at : at + size] for at in range(0, len(text), size))
    found = [event for event in Singer("s", "tap").events(whole_lines(blocks, "tap")) if isinstance(event, Records)]
    cut = [json.loads(line) for event in found for line in event.lines.splitlines() if line.strip()]
    assert cut == [record for record, *_ in records]
    assert sum(event.count for event in found) == len(records)


def events(*lines: str) -> list[Any]:
    return list(Singer("s", "tap").events(iter(["\n".join(lines).encode() + b"\n"])))


def test_numbers_keep_every_digit() -> None:
    (found,) = events('{"record": {"n": 1.00000000000000000001}, "type": "RECORD", "stream": "s", "x": 1}')
    assert found.lines.strip() == b'{"n": 1.00000000000000000001}'


def test_a_state_that_cannot_be_gone_on_from_is_not_firm() -> None:
    marks = '{"type": "STATE", "value": {"bookmarks": {"s": {"progress_markers": {"Note": "not resumable"}}}}}'
    assert events(marks) == [State({"bookmarks": {"s": {"progress_markers": {"Note": "not resumable"}}}}, False)]


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[1]",
        '{"stream": "s"}',
        '{"type": "RECORD", "stream": "s"}',
        '{"type": "NEWS"}',
        '{"type": "RECORD",',
        "{" * 5000,
    ],
)
def test_garbage_is_named_by_its_number(line: str) -> None:
    with pytest.raises(AnswerError, match="line 3 "):
        events('{"type": "RECORD", "stream": "s", "record": {}}', "", line)
