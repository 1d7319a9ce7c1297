"""Swaps generations of a SQLite table by renaming; its indexes and triggers stay with the name."""

from __future__ import annotations

from tongqu.connectors.sqlite.db import quoted, text_literal
from tongqu.kit.db import Db
from tongqu.kit.sql.landing import previous_name


def swap(db: Db, name: str, incoming: str) -> None:
    """Make the table `incoming` the table `name`, inside the open transaction; what was there becomes the kept
    generation. An index over columns that the incoming table lacks stays with the table that has them."""
    moved = []
    if db.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (name,)):
        db.run(f"DROP TABLE IF EXISTS {quoted(previous_name(name))}")
        columns = _names(db, f"PRAGMA table_xinfo({text_literal(incoming)})", 1)
        found = db.rows(
            "SELECT type, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL "
            "AND tbl_name = ? COLLATE NOCASE ORDER BY type, rowid",
            (name,),
        )
        for kind, part, sql in found:
            if kind == "trigger" or _names(db, f"PRAGMA index_info({text_literal(part)})", 2) <= columns:
                db.run(f"DROP {kind} {quoted(part)}")
                moved.append(str(sql))
        db.run(f"ALTER TABLE {quoted(name)} RENAME TO {quoted(previous_name(name))}")
    db.run(f"ALTER TABLE {quoted(incoming)} RENAME TO {quoted(name)}")
    for sql in moved:
        db.run(sql)


def _names(db: Db, pragma: str, at: int) -> set[str]:
    """Column names in lower case, without those of expressions."""
    return {str(row[at]).lower() for row in db.rows(pragma) if row[at] is not None}
