"""The page about schema changes: the table of outcomes that tests saw, by change, mode and system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tongqu.core.schema_changes import OUTCOMES, Kind, Outcome, SchemaChanges

KINDS = {
    Kind.NEW: "new column",
    Kind.DROPPED: "dropped column",
    Kind.RENAMED: "renamed column, declared by `renamed_from`",
    Kind.WIDENED: "widened type",
    Kind.NARROWED: "narrowed type",
    Kind.RETYPED: "other type",
    Kind.KEY: "other key",
    Kind.OPTIONAL: "may be null now",
    Kind.REQUIRED: "is required now",
    Kind.REORDERED: "other order of columns",
}
WORDS = {
    Outcome.ADDED: "the column is added; rows from before have null in it",
    Outcome.RENAMED: "the target's column is renamed, with its values and indexes",
    Outcome.WIDENED: "the target's column is widened by ALTER, within its family of types",
    Outcome.OPTIONAL: "NOT NULL is lifted",
    Outcome.REKEYED: "`replace`: the new generation has the new key; `upsert` and `history`: refused, with the fix",
    Outcome.FOLLOWED: "the content is written anew with what arrives",
    Outcome.UNCHANGED: "nothing has to be done: columns go by name, and every value fits",
    Outcome.NULL: "the target keeps the column: null in new rows, merged rows keep what they have",
    Outcome.LEFT_OUT: "the column is not written; its values are counted as `discarded`",
    Outcome.BLANKED: "values that do not fit become null and are counted as `discarded`",
    Outcome.QUARANTINED: "rows whose value does not fit go to quarantine, the others are written",
    Outcome.REFUSED: "refused before a row is written (`data.schema`)",
}


SYSTEMS = {
    "postgres": "PostgreSQL", "mysql": "MariaDB", "sqlite": "SQLite", "duckdb": "DuckDB", "parquet": "Parquet",
    "jsonl": "JSON Lines", "csv": "CSV",
}  # fmt: skip
Facts = Mapping[str, Sequence[Mapping[str, Any]]]


def page(facts: Facts) -> str:
    """The reference page: what is promised, changes by row and modes by column, then what tests saw in each system."""
    head = " | ".join(f"`{mode.value}`" for mode in SchemaChanges)
    lines = [
        "# Schema changes 结构变更\n\n"
        "What happens when the schema that arrives is not the one that this target was last given. Set it with "
        "`sync --schema-changes MODE`, or `schema_changes:` in a dataset of the dictionary; the default is `evolve`. "
        "[How and why](../schema-changes.md).\n\n",
        f"| change | {head} |\n|---|{'---|' * len(SchemaChanges)}\n",
    ]
    for kind, name in KINDS.items():
        cells = " | ".join(OUTCOMES[kind][mode].value for mode in SchemaChanges)
        lines.append(f"| {name} | {cells} |\n")
    lines.append("\n")
    lines += [f"* **{outcome.value}**: {words}.\n" for outcome, words in WORDS.items()]
    lines.append(
        "\nA file that is replaced is *followed* in every case of `evolve`. A file that is appended to grows where its "
        "rows name their columns or it is rewritten (JSON Lines, JSON, XML, Parquet, Arrow); a CSV file keeps its "
        "header, so new columns are refused there. A renamed column that nobody declared is a dropped and a new one.\n"
    )
    return "".join([*lines, *_tried(facts)])


def _tried(facts: Facts) -> list[str]:
    """What tests saw, with the systems in which a cell was the same on one line."""
    seen: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for fact in facts["schema_changes"]:
        for system in fact["systems"]:
            seen.setdefault((fact["change"], fact["write"]), {}).setdefault(system, {})[fact["mode"]] = fact["outcome"]
    lines = [
        "\n## What was tried 实测结果\n\nMade of tests that ran and passed, in `tests/connectors/"
        "test_schema_changes.py`; a – was not tried. `make tables` runs them again and rewrites this page.\n\n",
        f"| change | write | in | {' | '.join(f'`{mode.value}`' for mode in SchemaChanges)} |\n",
        f"|---|---|---|{'---|' * len(SchemaChanges)}\n",
    ]
    for (change, write), systems in sorted(seen.items()):
        same: dict[str, list[str]] = {}
        for system in (name for name in SYSTEMS if name in systems):
            cells = " | ".join(systems[system].get(mode.value, "–") for mode in SchemaChanges)
            same.setdefault(cells, []).append(SYSTEMS[system])
        lines += [f"| {change} | `{write}` | {', '.join(names)} | {cells} |\n" for cells, names in same.items()]
    return lines
