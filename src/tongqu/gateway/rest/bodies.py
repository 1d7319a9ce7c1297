"""The body of a write as rows: JSON, CSV or XML, by its Content-Type."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow import csv as pacsv

from tongqu.gateway.problems import Problem
from tongqu.gateway.rest import xml
from tongqu.gateway.rest.formats import JSON, OBJECT
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import json_body, within, xml_body

_CSV = pacsv.ParseOptions(newlines_in_values=True)


@dataclass(frozen=True)
class Sent:
    """Rows that were sent. `single`: it was one row, not a list. `texts`: all values are texts or null."""

    rows: Sequence[Mapping[str, Any]]
    single: bool
    texts: bool


def sent(body: bytes, content_type: str, sizes: SizesEntry) -> Sent:
    """The rows of a body. An empty Content-Type means JSON.

    JSON: an object, or a list of objects; numbers keep their digits; a name that comes twice, and NaN, are refused.
    CSV: UTF-8 with a line of names; empty and `NULL`, not quoted, are null. XML: `<rows><row>…`, or one `<row>`.
    Raises Problem `media.unknown`, `body.malformed`, or `body.too_large` beyond `sizes`.
    """
    media = content_type.partition(";")[0].strip().lower() or JSON
    if media in (JSON, OBJECT, "application/vnd.pgrst.array+json"):
        found = json_body(body, sizes, _loads)
        rows = found if isinstance(found, list) else [found]
        if not all(isinstance(row, dict) for row in rows):
            raise Problem("body.malformed", "an object, or a list of objects, is expected")
        return Sent(rows, not isinstance(found, list), texts=False)
    if media == "text/csv":
        rows = _csv(body)
        within(rows, sizes)
        return Sent(rows, single=False, texts=True)
    if media in ("application/xml", "text/xml"):
        rows, single = xml.rows(xml_body(body, sizes))
        return Sent(rows, single, texts=True)
    raise Problem("media.unknown", "what is understood: application/json, text/csv, application/xml")


def _loads(body: bytes) -> Any:
    return json.loads(
        body.decode("utf-8-sig"), parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_once
    )


def _number(text: str) -> Decimal:
    if len(text) > 100:
        raise Problem("body.malformed", "a number is longer than 100 digits")
    return Decimal(text)


def _no_constant(text: str) -> NoReturn:
    raise Problem("body.malformed", f"{text} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Problem("body.malformed", "a name comes twice in one object")
    return made


def _csv(body: bytes) -> list[dict[str, str | None]]:
    """Rows of texts. A cell that is empty, or `NULL`, and not quoted is null; `""` is an empty text."""
    if not body.removeprefix(b"\xef\xbb\xbf").strip():
        raise Problem("body.malformed", "the first line holds the names of the fields, each once")
    try:
        names = pacsv.open_csv(io.BytesIO(body), parse_options=_CSV).schema.names
        options = pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=["", "NULL"], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )  # fmt: skip
        table = pacsv.read_csv(io.BytesIO(body), parse_options=_CSV, convert_options=options)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        raise Problem("body.malformed", "it is no CSV in UTF-8 with as many values as names in each line") from None
    if len(set(names)) != len(names) or not all(names):
        raise Problem("body.malformed", "the first line holds the names of the fields, each once")
    rows: list[dict[str, str | None]] = table.to_pylist()
    return rows
