"""What a query would touch, from SQLite's own plan and its statistics."""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

from tongqu.core.server import Cost
from tongqu.kit.serving.statements import Statement
from tongqu.kit.sqlite import SqliteDb, quoted

_STEP = re.compile(r"(SCAN|SEARCH) (?:TABLE |SUBQUERY )?(\S+)(?: AS (\S+))?(?:.*?INDEX (\S+))?(.*)")
_FEW = 10.0
"""How many times fewer rows an index finds, where ANALYZE has not told."""


def cost(db: SqliteDb, tree: exp.Expr, statement: Statement, values: dict[str, Any]) -> Cost:
    """Rows are the products along each nested loop, as the loops run; the figure is their sum too."""
    names = {table.alias_or_name: table.name for table in tree.find_all(exp.Table)}
    steps = db.connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", values).fetchall()
    loops: dict[int, float] = {}
    total, depth, lines = 0.0, {0: 0}, []
    for number, parent, _, told in steps:
        depth[number] = depth.get(parent, 0) + 1
        lines.append("  " * (depth[number] - 1) + str(told))
        found = _STEP.match(str(told))
        if found:
            loops[parent] = loops.get(parent, 1.0) * _rows(db, names.get(found[2], found[2]), found)
            total += loops[parent]
    return Cost(max(total, 1.0), total, "\n".join(lines))


def _rows(db: SqliteDb, table: str, step: re.Match[str]) -> float:
    whole, index = _told(db, table, step[4])
    if step[1] == "SCAN":
        return whole
    if "rowid=?" in step[0] or ("INTEGER PRIMARY KEY (" in step[0] and "=?" in step[0]):
        return 1.0
    equal = step[0].count("=?")
    return index[min(equal, len(index)) - 1] if index and equal else max(1.0, whole / _FEW)


def _told(db: SqliteDb, table: str, index: str | None) -> tuple[float, list[float]]:
    """Rows of a table, and rows for each number of columns of an index that are known."""
    known = db.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchall()
    stats = (
        db.connection.execute("SELECT idx, stat FROM sqlite_stat1 WHERE tbl = ?", (table,)).fetchall() if known else []
    )
    numbers = {name: [float(part) for part in str(stat).split() if part.isdigit()] for name, stat in stats}
    whole = max((found[0] for found in numbers.values() if found), default=None)
    if whole is None:
        there = db.connection.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (table,)
        ).fetchall()
        whole = float(db.connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()[0][0]) if there else 1.0
    return max(whole, 1.0), numbers.get(index or "", [])[1:]
