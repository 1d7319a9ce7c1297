"""What somebody is told who asks `sync` for a two-way sync: that it stands in a project file, and the lines of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tongqu.app.services.ends import End, is_url, whole_reference
from tongqu.core.errors import InvalidPlanError
from tongqu.store.literal import literal_passwords

WORDS = frozenset({"two-way", "twoway", "two_way", "both", "both-ways", "bidirectional", "bidi", "2-way", "双向"})
"""What people call it as a mode."""


def check_one_way(mode: str, ends: Sequence[End], places: Sequence[str], tables: Sequence[str]) -> None:
    """Raise InvalidPlanError if `mode` is a word for two-way sync: with the lines of a project file that keep these two
    ends in agreement, or with the end that cannot take part. Nothing is connected to, and no URL is shown."""
    if mode.strip().lower() not in WORDS:
        return
    for end in ends:
        server = end.connector.server
        if server is None or not server(end.settings).transactions:
            raise InvalidPlanError(
                f"{end.connector.name} cannot take part in a two-way sync: its rows cannot be queried and changed one "
                "by one",
                path="--mode",
                hint="let a pipeline each way carry its rows to a table of PostgreSQL, MySQL, SQLite or DuckDB, and "
                "name that table under `sync`",
            )
    hint = (
        f"add this to tongqu.yaml, then: tongqu twoway run {_entry(tables)}\n{_lines(ends, places, tables)}\n"
        "one way: --mode full, incremental, cdc or stream"
    )
    raise InvalidPlanError(
        "a two-way sync remembers what both sides agreed on, so it is an entry of a project file and no mode of sync",
        path="--mode",
        hint=hint,
    )


def _lines(ends: Sequence[End], places: Sequence[str], tables: Sequence[str]) -> str:
    sides: list[str] = []
    connections: list[str] = []
    own, _, other = (tables[0] if tables else "TABLE").partition("=")
    for end, place, name, table in zip(ends, places, ("left", "right"), (own, other or own), strict=True):
        called = place
        if is_url(place) or whole_reference(place):
            called, url = name, f"${{env:{name.upper()}_URL}}" if literal_passwords(place) else place
            connections.append(f'  {name}: {{type: {end.connector.name}, url: "{url}"}}')
        sides.append(f"      - {{connection: {called}, dataset: {table}}}")
    told = ["connections:", *connections] if connections else []
    gates = "    gates: {clean_days: 3, differences: 0}"
    return "\n".join([*told, "sync:", f"  {_entry(tables)}:", "    between:", *sides, gates])


def _entry(tables: Sequence[str]) -> str:
    found = re.sub(r"\W+", "_", tables[0].partition("=")[0]).strip("_").lower() if tables else ""
    return found or "records"
