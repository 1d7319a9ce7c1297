"""Swaps generations of a SQLite table by renaming; its indexes and triggers stay with the name."""

from __future__ import annotations

from collections.abc import Mapping

from tongqu.kit.db import Db
from tongqu.kit.sql.landing import previous_name
from tongqu.kit.sql.renaming import renamed_in
from tongqu.kit.sqlite import quoted, text_literal


def swap(db: Db, name: str, incoming: str, renames: Mapping[str, str] | None = None) -> None:
    """Make the table `incoming` the table `name`, inside the open transaction; what was there becomes the kept
    generation. An index over columns that the incoming table lacks stays with the table that has them, unless it has
    them under a new name."""
    new = {old.lower(): to.lower() for old, to in (renames or {}).items()}
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
            if kind == "trigger" or _indexed(db, part, new) <= columns:
                db.run(f"DROP {kind} {quoted(part)}")
                moved.append(renamed_in(str(sql), renames or {}) if kind == "index" else str(sql))
        db.run(f"ALTER TABLE {quoted(name)} RENAME TO {quoted(previous_name(name))}")
    db.run(f"ALTER TABLE {quoted(incoming)} RENAME TO {quoted(name)}")
    for sql in moved:
        db.run(sql)


def _indexed(db: Db, index: str, new: Mapping[str, str]) -> set[str]:
    """The columns of an index by their new names."""
    return {new.get(name, name) for name in _names(db, f"PRAGMA index_info({text_literal(index)})", 2)}


def _names(db: Db, pragma: str, at: int) -> set[str]:
    """Column names in lower case, without those of expressions."""
    return {str(row[at]).lower() for row in db.rows(pragma) if row[at] is not None}
