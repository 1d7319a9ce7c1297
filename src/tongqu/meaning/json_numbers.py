"""Keeps long numbers in JSON texts exact: DuckDB reads more than 17 digits as doubles."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from tongqu.core.kernels import pc

JSON_COLUMN = "_tongqu_json"
_LONG = r"[0-9][0-9.]{15,}|[0-9][eE]"


def exact_numbers(table: pa.Table, name: str) -> pa.Table:
    """The table with the column `_tongqu_json`: the JSON column with numbers as texts in documents where one has 16
    digits or more or an exponent. Other documents, and those that are no JSON, are as they were; Python only sees the
    few long ones."""
    column = table.column(name).combine_chunks()
    long = pc.fill_null(pc.match_substring_regex(column, _LONG), False)
    if pc.any(long).as_py():
        documents: Any = column.filter(long).to_pylist()
        column = pc.replace_with_mask(column, long, pa.array([_texts(d) for d in documents], column.type))
    return table.append_column(JSON_COLUMN, column)


def _texts(document: str) -> str:
    try:
        return json.dumps(json.loads(document, parse_float=str, parse_int=str), ensure_ascii=False)
    except (ValueError, RecursionError):
        return document
