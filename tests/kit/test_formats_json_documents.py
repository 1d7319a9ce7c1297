"""Cutting JSON without parsing it agrees with a parser, wherever the blocks end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.core.errors import NotFoundError
from tongqu.kit.formats import json_documents
from tongqu.kit.formats.json_documents import ArrayStream, Children, Parents, TextNested, nested_names, pointer
from tongqu.kit.formats.text_stream import TextStream

TEXT = st.text(st.sampled_from('ab"\\{}[],: \n批号\u2028'), max_size=6)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "号", 'q"', "x"]), VALUE, max_size=5), max_size=6)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@dataclass(frozen=True)
class Pieces(TextStream):
    """A text that comes in small blocks."""

    text: bytes = b""
    size: int = 5

    def blocks(self, offset: int = 0) -> Iterator[bytes]:
        for at in range(offset, len(self.text), self.size):
            yield self.text[at : at + self.size]


def pieces(document: Any, size: int, ascii_: bool = False) -> Pieces:
    text = json.dumps(document, ensure_ascii=ascii_, indent=size % 3 or None)
    return Pieces(Path("x.json"), text=text.encode(), size=size)


def objects(stream: Any, offset: int = 0) -> list[Any]:
    return [json.loads(line) for line in b"".join(stream.blocks(offset)).split(b"\n") if line.strip()]


@pytest.fixture(autouse=True)
def small_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_documents, "_READ", 8)


@QUICK
@given(OBJECTS, st.integers(1, 40), VALUE)
def test_records_of_an_array_anywhere(found: list[Any], size: int, other: Any) -> None:
    document = {"other": other, "d]": {"x": [other], "items": found, "more": other}, "end": [other]}
    stream = ArrayStream(pieces(document, size), ("d]", "items"))
    assert objects(stream) == found
    text = b"".join(stream.blocks())
    for at in [i + 1 for i, byte in enumerate(text) if byte == 10]:
        assert b"".join(stream.blocks(at)) == text[at:]
    assert objects(ArrayStream(pieces(found, size))) == found


@QUICK
@given(OBJECTS)
def test_nested_values_as_text(found: list[Any]) -> None:
    stream = TextNested(ArrayStream(pieces(found, 1 << 10)))
    for made, wanted in zip(objects(stream), found, strict=True):
        assert list(made) == list(wanted)
        for name, value in wanted.items():
            assert (json.loads(made[name]) if isinstance(value, dict | list) else made[name]) == value


@QUICK
@given(OBJECTS, st.booleans(), st.booleans())
def test_arrays_as_children(found: list[Any], number: bool, ascii_: bool) -> None:
    stream = ArrayStream(pieces(found, 1 << 10, ascii_))
    names = nested_names(stream, None)
    assert {n for n, bracket in names.items() if bracket == "["} == {
        n for one in found for n, value in one.items() if isinstance(value, list)
    }
    dropped = tuple(names)
    assert objects(Parents(stream, dropped, number)) == [
        ({"_record": at} if number else {}) | {n: v for n, v in one.items() if n not in dropped}
        for at, one in enumerate(found, 1)
    ]
    carried = () if number else (("a", "parent_a"),)
    for name in ("b", "号", 'q"'):
        wanted = []
        for at, one in enumerate(found, 1):
            parent = {"_record": at} if number else {"parent_a": one.get("a")}
            held = one.get(name)
            items = held if isinstance(held, list) else [held] if isinstance(held, dict) else []
            for place, item in enumerate(items, 1):
                own = item if isinstance(item, dict) else {"value": item}
                wanted.append(parent | {"_index": place} | own)
        assert objects(Children(stream, name, carried, "_index", number)) == wanted


@pytest.mark.parametrize(
    ("text", "keys"),
    [("", ()), ("$", ()), ("a.b", ("a", "b")), ("$.a.b[*]", ("a", "b")), ("/a.b/c~1d", ("a.b", "c/d"))],
)
def test_pointers(text: str, keys: tuple[str, ...]) -> None:
    assert pointer(text) == keys


@pytest.mark.parametrize("document", [{"a": {"b": 1}}, {"a": [1]}, [1], 5, {}])
def test_no_array_at_the_pointer(document: Any) -> None:
    with pytest.raises(NotFoundError):
        objects(ArrayStream(pieces(document, 3), ("a", "b")))
