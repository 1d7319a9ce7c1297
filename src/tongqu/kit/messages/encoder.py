"""Rows and changes become messages: JSON or Avro, plain or as Debezium and canal write them, under the row's key."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.errors import InvalidPlanError
from tongqu.core.kernels import pc
from tongqu.kit.messages import avro
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.settings import MessageSettings
from tongqu.kit.originals import constant, original_texts, shown_texts


@dataclass(frozen=True)
class Encoded:
    """One message an entry: its key (None without one) and its value (None: the key is gone)."""

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.values)


class Encoder:
    """Writes rows of `schema` for one target. Keys are JSON objects of the key columns. Raises InvalidPlanError for a
    format that cannot be written, and an envelope of changes without key."""

    def __init__(
        self, settings: MessageSettings, schema: pa.Schema, key: Sequence[str], name: str,
        registry: SchemaRegistry | None = None,
    ):  # fmt: skip
        self.settings, self.key, self.name = settings, tuple(key), name
        self._rows: Callable[[pa.Table], list[bytes]] | None = None
        if settings.format == "avro" and settings.envelope in ("plain", "upsert"):
            if registry is None:
                raise InvalidPlanError("Avro needs a schema registry", path=name, hint="registry: {base_url: …}")
            self._rows = avro.writer(registry, f"{name}-value", schema, name)
        elif settings.format in ("text", "bytes"):
            if schema.names != ["value"]:
                raise InvalidPlanError(
                    f"{settings.format} messages are of one column, `value`", path=name,
                    hint=f"select it; there are: {', '.join(schema.names)}",
                )  # fmt: skip
        elif settings.format != "json":
            raise InvalidPlanError(
                f"messages cannot be written as {settings.format} in the envelope {settings.envelope}", path=name,
                hint="use format: json; or avro with the envelope plain or upsert",
            )  # fmt: skip
        if settings.changes and not self.key:
            raise InvalidPlanError(
                f"the envelope {settings.envelope!r} needs a key", path=name, hint="name the key columns with --key"
            )

    def encode(self, rows: pa.Table, at: int, op: str = "c") -> Encoded:
        """Messages of rows that were written at `at` (milliseconds since 1970): created (`c`), or created or changed
        (`u`)."""
        if self.settings.format in ("text", "bytes"):
            values: Sequence[bytes | None] = rows.column(0).cast(pa.binary()).to_pylist()
        elif self._rows is not None:
            values = self._rows(rows)
        elif self.settings.envelope == "debezium":
            values = self._debezium(constant("null"), documents(rows), op, at)
        elif self.settings.envelope == "canal":
            values = self._canal(texts(rows), "INSERT" if op == "c" else "UPDATE", at)
        else:
            values = _bytes(documents(rows))
        return Encoded(self._keys(rows), values)

    def gone(self, rows: pa.Table, at: int) -> Encoded:
        """Messages that tell that the rows of these keys were deleted: Debezium's with the tombstone after it, canal's,
        else a tombstone. Raises InvalidPlanError where there is no key."""
        keys = self._keys(rows)
        if not self.key:
            raise InvalidPlanError("messages without key cannot tell what was deleted", path=self.name, hint="--key ID")
        held = rows.select(list(self.key))
        if self.settings.envelope == "debezium":
            told = self._debezium(documents(held), constant("null"), "d", at)
            both = [(key, one) for key, value in zip(keys, told, strict=True) for one in (value, None)]
            return Encoded([key for key, _ in both], [value for _, value in both])
        if self.settings.envelope == "canal":
            return Encoded(keys, self._canal(texts(held), "DELETE", at))
        return Encoded(keys, [None] * rows.num_rows)

    def _keys(self, rows: pa.Table) -> Sequence[bytes | None]:
        if not self.key or not set(self.key) <= set(rows.column_names):
            return [None] * rows.num_rows
        return _bytes(documents(rows.select(list(self.key))))

    def _debezium(self, before: Any, after: Any, op: str, at: int) -> list[bytes]:
        source = {"connector": "tongqu", "ts_ms": at, "table": self.name}
        tail = f',"source":{json.dumps(source, ensure_ascii=False)},"op":"{op}","ts_ms":{at}}}'
        return _bytes(
            pc.binary_join_element_wise(
                constant('{"before":'), before, constant(',"after":'), after, constant(tail), constant("")
            )
        )

    def _canal(self, rows: Any, kind: str, at: int) -> list[bytes]:
        tail = {
            "old": None, "type": kind, "database": "", "table": self.name, "pkNames": list(self.key), "isDdl": False,
            "es": at, "ts": at, "sql": "",
        }  # fmt: skip
        text = json.dumps(tail, ensure_ascii=False)[1:]
        return _bytes(pc.binary_join_element_wise(constant('{"data":['), rows, constant(f"],{text}"), constant("")))


def documents(rows: pa.Table) -> Any:
    """Each row as a JSON object; binary is base64, amounts are text, so that no digit is lost on the way."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            rows = rows.set_column(place, field.name, _base64(rows.column(place)))
    return original_texts(rows)


def texts(rows: pa.Table) -> Any:
    """Each row as a JSON object whose values are all text or null, as canal's."""
    held = [
        _base64(column) if pa.types.is_binary(column.type) else _spaced(shown_texts(column), column.type)
        for column in rows.columns
    ]
    return original_texts(pa.table(held, names=rows.column_names))


def _spaced(column: Any, kind: Any) -> Any:
    """Instants as MySQL writes them."""
    if not pa.types.is_timestamp(kind):
        return column
    return pc.replace_substring_regex(pc.replace_substring(column, "T", " "), "Z$", "")


def _base64(column: Any) -> Any:
    import base64

    held = [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    return pa.array(held, pa.string())


def _bytes(column: Any) -> list[bytes]:
    made: list[bytes] = column.cast(pa.binary()).to_pylist()
    return made
