"""JSON messages, many at once: joined by line ends and read by Arrow; what does not fit is found by halving."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.errors import CastError
from tongqu.kit.formats.jsonl import parse_lines
from tongqu.kit.messages.parsed import Failure, Parsed

Unexpected = Callable[[pa.Schema], str]
"""The first field of what was read that nobody knows; empty if there is none."""
_ROW = re.compile(r" in row \d+$")
_FIELD = re.compile(r"/([^/)\[\]]+)\)? *(?:changed|was|$|[^/]*$)")


class JsonValues:
    """Reads values of one shape. `loose` are keys whose numbers and truth values may stand for text; `others` says what
    a key that `wire` lacks does: `error`, or `ignore`; `unexpected` looks for it in nested values."""

    def __init__(
        self, wire: pa.Schema, loose: Sequence[str], *, others: str = "error", unexpected: Unexpected | None = None
    ):
        self._wire = wire
        self._loose = tuple(loose)
        self._others = others
        self._unexpected = unexpected

    def parse(self, values: Sequence[bytes]) -> Parsed:
        """The values as rows; each is one JSON object."""
        count = len(values)
        places = np.arange(count)
        try:
            return Parsed(self._table(values), places, {})
        except pa.ArrowInvalid:
            return self._salvaged(values)

    def _salvaged(self, values: Sequence[bytes]) -> Parsed:
        good: list[tuple[range, pa.Table]] = []
        failures: dict[int, Failure] = {}
        pending = [range(len(values))]
        while pending:
            part = pending.pop()
            try:
                good.append((part, self._table([values[number] for number in part])))
            except pa.ArrowInvalid as error:
                if len(part) > 1:
                    half = len(part) // 2
                    pending += [part[half:], part[:half]]
                else:
                    failures[part[0]] = failure(values[part[0]], str(error))
        table = pa.concat_tables([t for _, t in good]) if good else self._wire.empty_table()
        places = np.array([number for part, _ in good for number in part], np.int64)
        return Parsed(table, places, failures)

    def _table(self, values: Sequence[bytes]) -> pa.Table:
        """All values as rows; raises ArrowInvalid if one is not what it should be."""
        if not values:
            return self._wire.empty_table()
        data = b"\n".join(values)
        if data.count(b"\n") != len(values) - 1:
            values = [value.replace(b"\n", b" ").replace(b"\r", b" ") for value in values]
            data = b"\n".join(values)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise pa.ArrowInvalid("not UTF-8") from error
        if not all(value.strip() for value in values):
            raise pa.ArrowInvalid("an empty value")
        flat = data.count(b"{") <= len(values) and b"[" not in data
        data += b"\n"
        table = self._lines(data, flat)
        if table.num_rows != len(values):
            raise pa.ArrowInvalid("not one JSON object")
        if self._unexpected:
            self._look(data, flat)
        return table

    def _lines(self, data: bytes, flat: bool) -> pa.Table:
        try:
            return parse_lines(data, self._wire, (), self._others, flat=flat)
        except pa.ArrowInvalid:
            loose = [field.name for field in self._wire if pa.types.is_floating(field.type)]
            if not self._loose and not loose:
                raise
            texts = pa.schema([pa.field(f.name, pa.string()) if f.name in loose else f for f in self._wire])
            table = parse_lines(data, texts, [*self._loose, *loose], self._others, flat=flat)
            return table.cast(self._wire) if loose else table  # NaN and infinities come as text

    def _look(self, data: bytes, flat: bool) -> None:
        """Raise ArrowInvalid for a nested field that nobody knows. Where Arrow cannot tell the types of all that the
        documents hold, each is looked at by itself."""
        assert self._unexpected is not None  # noqa: S101  # asked for only then
        try:
            schemas = [parse_lines(data, None, (), "infer", flat=flat).schema]
        except pa.ArrowInvalid:
            schemas = [_shape(json.loads(line)) for line in data.splitlines()]
        for schema in schemas:
            if name := self._unexpected(schema):
                raise pa.ArrowInvalid(f"unexpected field /{name}")


def failure(value: bytes, cause: str) -> Failure:
    """What is wrong with one value, as Arrow's words say it."""
    said = _ROW.sub("", cause.removeprefix("JSON parse error: ").strip())
    try:
        is_object = isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        return Failure(f"not a JSON object: {said}")
    named = _FIELD.search(said)
    return Failure(said, CastError.code, named[1] if named else "")


def _shape(document: Any) -> pa.Schema:
    """The fields of one document, without the types of single values."""

    def kind(value: Any) -> pa.DataType:
        if isinstance(value, dict):
            return pa.struct([(name, kind(inner)) for name, inner in value.items()])
        if isinstance(value, list):
            names = {name: kind(inner) for one in value if isinstance(one, dict) for name, inner in one.items()}
            return pa.list_(pa.struct(list(names.items())) if names else pa.string())
        return pa.null() if value is None else pa.string()

    return pa.schema([(name, kind(inner)) for name, inner in document.items()])


def documents(values: Sequence[bytes | None]) -> list[Any]:
    """A sample's values as Python objects; what cannot be read is left out."""
    found = []
    for value in values:
        try:
            document = json.loads(value) if value is not None else None
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            found.append(document)
    return found
