"""Reads messages of one dataset: learns its fields from a sample, and turns many messages at once into rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.kernels import pc
from tongqu.core.log import AT, OP, UNCHANGED
from tongqu.kit.formats.jsonl import Inference
from tongqu.kit.formats.types import named
from tongqu.kit.messages import avro
from tongqu.kit.messages.converting import converted, loose_names, wire_field
from tongqu.kit.messages.envelopes import Canal, Debezium, rows_of, unavailable
from tongqu.kit.messages.json_values import JsonValues, documents
from tongqu.kit.messages.parsed import NO_VALUE, Decoded, Failure, Messages, Parsed, Places
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.settings import MessageSettings

VALUE = "value"
"""The column of `text` and `bytes`."""


class Values(Protocol):
    """What reads values of a format."""

    def parse(self, values: Sequence[bytes]) -> Parsed: ...


@dataclass(frozen=True)
class _Rows:
    """Columns of the fields, with the message of each row and what a change tells of it."""

    columns: list[Any]
    places: Places
    failures: dict[int, Failure]
    op: Any = None
    at: Any = None
    lacking: Any = None

    def chosen(self, choose: Callable[[Any], Any], places: Places) -> _Rows:
        """Some of the rows, or all in another order."""
        op, at, lacking = (None if one is None else choose(one) for one in (self.op, self.at, self.lacking))
        return _Rows([choose(column) for column in self.columns], places, self.failures, op, at, lacking)

    def in_order(self) -> _Rows:
        """The rows in the order of their messages."""
        if not np.any(np.diff(self.places) < 0):
            return self
        order = np.argsort(self.places, kind="stable")
        taken: Any = pa.array(order)
        return self.chosen(lambda column: column.take(taken), self.places[order])


class Reader:
    """Reads messages as rows of `fields`, which `learn` finds. Rows have the fields, then `meta` columns, then, where
    the envelope is one of changes, `_op`, `_at` where it is told, and `_unchanged` where something is."""

    def __init__(
        self, settings: MessageSettings, fields: Sequence[pa.Field[Any]], key: Sequence[str],
        meta: Sequence[pa.Field[Any]] = (), registry: SchemaRegistry | None = None,
    ):  # fmt: skip
        self.settings, self.fields, self.key = settings, list(fields), tuple(key)
        self.meta, self._registry = list(meta), registry
        if settings.changes and not self.key:
            raise InvalidSettingsError(
                f"messages in the envelope {settings.envelope!r} need a key", path="key",
                hint="name the fields that tell rows apart: key: [id]",
            )  # fmt: skip
        if settings.changes and settings.format in ("text", "bytes"):
            raise InvalidSettingsError(
                f"{settings.format} has no envelope", path="envelope", hint="use plain, or the format json"
            )

    @property
    def schema(self) -> pa.Schema:
        """The dataset's schema: the fields and what the broker tells."""
        return pa.schema([*self.fields, *self.meta])

    def decode(self, messages: Messages) -> Decoded:
        """The messages as rows; those that cannot be read are set aside and stop no other."""
        given = np.array([n for n, value in enumerate(messages.values) if value is not None], np.int64)
        values = [value for value in messages.values if value is not None]
        failures: dict[int, Failure] = {}
        if self.settings.format in ("text", "bytes"):
            rows = self._raw(values)
        else:
            parsed = self._values.parse(values)
            failures |= {int(given[n]): one for n, one in parsed.failures.items()}
            rows = self._opened(parsed)
        failures |= {int(given[n]): one for n, one in rows.failures.items()}
        rows = replace(rows, places=given[rows.places])
        if len(values) < len(messages.values):
            rows = self._with_empty(messages, rows, failures)
        return self._decoded(messages, rows.in_order(), failures)

    # ---- inside

    @cached_property
    def _envelope(self) -> Debezium | Canal | None:
        kinds: dict[str, type[Debezium | Canal]] = {"debezium": Debezium, "canal": Canal}
        kind = kinds.get(self.settings.envelope)
        json_like = self.settings.format == "json"
        wired = [wire_field(field) if json_like else field for field in self.fields]
        return kind(wired, self.key, self.settings.table) if kind else None

    @cached_property
    def _values(self) -> Values:
        envelope, strict = self._envelope, self.settings.strict
        if self.settings.format == "json":
            loose = loose_names(self.fields) if self.settings.envelope != "canal" else [f.name for f in self.fields]
            if envelope is None:
                wire = pa.schema([wire_field(field) for field in self.fields])
                return JsonValues(wire, loose, others="error" if strict else "ignore")
            return JsonValues(
                envelope.wire(), loose, others="ignore", unexpected=envelope.unexpected if strict else None
            )
        return registered(self.settings, self._registry, envelope.wire() if envelope else pa.schema(self.fields))

    def _raw(self, values: Sequence[bytes]) -> _Rows:
        column = pa.array(values, pa.binary())
        places = np.arange(len(values))
        if self.settings.format == "bytes":
            return _Rows([column], places, {})
        try:
            return _Rows([column.cast(pa.string())], places, {})
        except pa.ArrowInvalid:
            refused: dict[int, Failure] = {}
            kept = []
            for number, value in enumerate(values):
                try:
                    kept.append(value.decode())
                except UnicodeDecodeError as error:
                    refused[number] = Failure(f"not UTF-8: {error.reason} at byte {error.start}")
            good = np.array([n for n in range(len(values)) if n not in refused], np.int64)
            return _Rows([pa.array(kept, pa.string())], good, refused)

    def _opened(self, parsed: Parsed) -> _Rows:
        """The rows inside the envelope, converted; what fails is told by value."""
        table, places, op, at = parsed.table, parsed.places, None, None
        refused: dict[int, Failure] = {}
        lacking = None
        columns: list[Any] = [table.column(n) for n in range(table.num_columns)]
        if self._envelope is not None:
            changes = self._envelope.changes(table.combine_chunks())
            refused |= {int(places[n]): one for n, one in changes.failures.items()}
            columns, op, places = changes.columns, changes.op, places[changes.places]
            at = _instant(changes.at)
            if self.settings.envelope == "debezium":
                columns, lacking = unavailable(columns, [field.name for field in self.fields])
        elif self.settings.envelope == "upsert":
            op = pa.array(["u"] * table.num_rows, pa.string())
        made, bad = converted(columns, self.fields, self.settings.times)
        if op is not None:
            bad = self._nameless(made, op) | bad
        refused |= {int(places[row]): one for row, one in bad.items()}
        rows = _Rows(made, places, refused, op, at, lacking)
        if bad:  # all of a message goes aside, also its other rows
            kept = ~np.isin(places, [places[row] for row in bad])
            mask: Any = pa.array(kept)
            rows = rows.chosen(lambda column: column.filter(mask), places[kept])
        return rows

    def _nameless(self, columns: list[Any], op: Any) -> dict[int, Failure]:
        """Changes of rows that lack a part of their key."""
        found: dict[int, Failure] = {}
        names = [field.name for field in self.fields]
        for name in self.key:
            lacks = pc.and_(columns[names.index(name)].is_null(), pc.not_equal(op, "t"))
            for row in pc.indices_nonzero(lacks).to_pylist():
                found.setdefault(row, Failure(f"the key column {name} is null", "key.null", name))
        return found

    def _with_empty(self, messages: Messages, rows: _Rows, failures: dict[int, Failure]) -> _Rows:
        """What messages without a value mean: their key is gone (`upsert`), nothing (a tombstone that follows a change
        that was told), or they are bad."""
        empty = [n for n, value in enumerate(messages.values) if value is None]
        if self.settings.envelope in ("debezium", "canal"):
            return rows
        if self.settings.envelope == "plain":
            failures |= {n: Failure("the message has no value (a tombstone)", NO_VALUE) for n in empty}
            return rows
        held = {n: messages.keys[n] if messages.keys else None for n in empty}
        failures |= {n: Failure("neither key nor value", NO_VALUE) for n, key in held.items() if key is None}
        keys = {n: _as_object(key, self.key) for n, key in held.items() if key is not None}
        columns, places = self._of_keys(keys, failures)
        both = [
            pa.concat_arrays([one, columns[field.name] if field.name in columns else pa.nulls(len(places), field.type)])
            for one, field in zip(rows.columns, self.fields, strict=True)
        ]
        ops = pa.concat_arrays([rows.op, pa.array(["d"] * len(places), pa.string())])
        return _Rows(both, np.concatenate([rows.places, places]), rows.failures, ops)

    def _of_keys(self, keys: Mapping[int, bytes], failures: dict[int, Failure]) -> tuple[dict[str, Any], Places]:
        """The key columns of message keys, by message, and the messages that have them."""
        fields = [field for field in self.fields if field.name in self.key]
        wire = pa.schema([wire_field(field) for field in fields])
        parsed = JsonValues(wire, loose_names(fields), others="ignore").parse(list(keys.values()))
        made, refused = converted(parsed.table.columns, fields, self.settings.times)
        for name, column in zip(wire.names, made, strict=True):
            for row in pc.indices_nonzero(column.is_null()).to_pylist():
                refused.setdefault(row, Failure(f"the key has no {name}", "key.null", name))
        names = np.array(list(keys), np.int64)
        failures |= {int(names[n]): one for n, one in parsed.failures.items()}
        failures |= {int(names[parsed.places[row]]): one for row, one in refused.items()}
        kept = np.array([row for row in range(len(parsed.places)) if row not in refused], np.int64)
        taken = pa.array(kept)
        return dict(zip(wire.names, [c.take(taken) for c in made], strict=True)), names[parsed.places[kept]]

    def _decoded(self, messages: Messages, rows: _Rows, failures: dict[int, Failure]) -> Decoded:
        columns, fields, places = [*rows.columns], [*self.fields], rows.places
        whole = len(places) == len(messages.values) and rows.op is None
        for field in self.meta:
            told = messages.meta[field.name]
            columns.append(told if whole else pc.take(told, pa.array(places)))
            fields.append(field)
        for name, column in ((OP, rows.op), (AT, rows.at), (UNCHANGED, rows.lacking)):
            if column is not None:
                columns.append(column)
                fields.append(pa.field(name, column.type))
        made = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
        truncates: tuple[int, ...] = ()
        if rows.op is not None:
            emptied = np.asarray(pc.equal(rows.op, "t"))
            if emptied.any():
                truncates = tuple(int(row - before) for before, row in enumerate(np.flatnonzero(emptied)))
                made, places = made.filter(pa.array(~emptied)), places[~emptied]
        bad = tuple(messages.bad(number, failures[number]) for number in sorted(failures))
        return Decoded(made, places, bad, truncates)


def registered(settings: MessageSettings, registry: SchemaRegistry | None, wire: pa.Schema) -> avro.RegisteredValues:
    """What reads Avro or Protobuf; raises InvalidSettingsError without a registry."""
    if registry is None:
        raise InvalidSettingsError(
            f"the format {settings.format!r} needs a schema registry", path="registry",
            hint="registry: {base_url: http://registry:8081}",
        )  # fmt: skip
    if settings.format == "avro":
        return avro.RegisteredValues(registry, avro.avro_reader, wire)
    from tongqu.kit.messages.protobuf import protobuf_reader

    return avro.RegisteredValues(registry, lambda schema: protobuf_reader(schema, settings.message), wire)


def learn(
    settings: MessageSettings,
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None],
    registry: SchemaRegistry | None = None,
) -> tuple[list[pa.Field[Any]], tuple[str, ...]]:
    """The fields and the key of messages, by what is declared and by a sample."""
    key = tuple(settings.key)
    if settings.format in ("text", "bytes"):
        kind = pa.string() if settings.format == "text" else pa.binary()
        return [pa.field(VALUE, kind, nullable=False)], key
    declared = {name: named(name, kind) for name, kind in settings.fields.items()}
    told: Sequence[str] = ()
    rows: list[dict[str, Any]] = []
    if not declared or (settings.changes and not key):
        read = documents(values)
        if settings.format != "json":
            read = registered(settings, registry, pa.schema([])).documents(values)
        for document in read:
            found, names = rows_of(document, settings.envelope)
            rows += found
            told = told or names
    fields = list(declared.values()) if declared else _inferred(settings, rows)
    if settings.changes and not key:
        known = {field.name for field in fields}
        key = tuple(name for name in (told or _key_names(keys)) if name in known)
    return [field.with_nullable(False) if field.name in key else field for field in fields], key


def _inferred(settings: MessageSettings, rows: Sequence[Mapping[str, Any]]) -> list[pa.Field[Any]]:
    if settings.format == "json":
        found = Inference({}, set(), {}, {}, {})
        data = b"".join(line for row in rows if (line := _line(row)))
        if data:
            found.show(data)
        return [pa.field(name, found.type(name)) for name in found.order if name in found.types]
    table = pa.Table.from_pylist([dict(row) for row in rows])
    return [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in table.schema]


def _line(row: Mapping[str, Any]) -> bytes:
    """The row as a line of JSON; nothing where no reader would take it: half a surrogate pair, a number without end."""
    try:
        return f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n".encode()
    except (ValueError, RecursionError):
        return b""


def _key_names(keys: Sequence[bytes | None]) -> Sequence[str]:
    """The fields of the message key in a sample: an object's, or its payload's (a converter with schemas)."""
    for document in documents(keys):
        inner = document.get("payload")
        return list(inner if isinstance(inner, dict) else document)
    return ()


def _as_object(key: bytes, names: Sequence[str]) -> bytes:
    """A message key as an object of the key's columns."""
    try:
        value: Any = json.loads(key)
    except (ValueError, RecursionError):
        value = key.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        inner = value.get("payload")
        value = inner if isinstance(inner, dict) else value
    elif len(names) == 1:
        value = {names[0]: value}
    return json.dumps(value).encode()


def _instant(milliseconds: Any) -> Any:
    if milliseconds.null_count == len(milliseconds):
        return None
    return milliseconds.cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
