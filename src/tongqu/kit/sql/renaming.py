"""Follows renamed columns in a piece of SQL that a catalogue keeps: an index's columns and condition."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORD = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[^\W\d]\w*""")


def renamed_in(sql: str, renames: Mapping[str, str]) -> str:
    """The text with old column names replaced by quoted new ones; texts in it stay as they are. Plain names match as
    the catalogue spells them."""
    if not renames:
        return sql

    def new(found: re.Match[str]) -> str:
        word = found[0]
        name = word[1:-1].replace('""', '"') if word.startswith('"') else word
        if word.startswith("'") or name not in renames:
            return word
        return '"' + renames[name].replace('"', '""') + '"'

    return _WORD.sub(new, sql)
