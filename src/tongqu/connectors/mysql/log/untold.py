"""Tables whose rows change without the log telling it, or of which the log tells other rows than they have."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tongqu.connectors.mysql.db import MysqlDb, quoted
from tongqu.core.errors import InvalidPlanError, NotFoundError

Table = tuple[str, str]
"""A table by its database and its name."""

_VERSIONED = (
    "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'SYSTEM VERSIONED' "
    "AND TABLE_SCHEMA IN ({marks})"
)
_CASCADE = re.compile(
    r"^ *CONSTRAINT `(?P<key>(?:[^`]|``)+)` FOREIGN KEY .* REFERENCES (?P<parent>(?:`(?:[^`]|``)+`\.)?`(?:[^`]|``)+`) "
    r"\([^)]*\)(?P<rules>.* ON (?:DELETE|UPDATE) (?:CASCADE|SET NULL|SET DEFAULT).*)$", re.MULTILINE,
)  # fmt: skip


def refuse(db: MysqlDb, tables: Mapping[str, Table]) -> None:
    """Raises InvalidPlanError if any of these cannot be followed; it names all of them."""
    found = untold(db, tables)
    for refusal in found.values():
        told = "; ".join(one.message for one in found.values())
        raise InvalidPlanError(told, path=", ".join(found), hint=refusal.hint)


def untold(db: MysqlDb, tables: Mapping[str, Table]) -> dict[str, InvalidPlanError]:
    """Why these datasets cannot be followed, by name; nothing of those that are not there.

    MariaDB logs each old version of a row of a system-versioned table as a row of its own, and a deleted one as an
    update. No server logs what a foreign key deletes or changes
    (https://dev.mysql.com/doc/refman/8.4/en/innodb-and-mysql-replication.html); where the connection's `cascades` is
    `ignore` that is accepted. Foreign keys are read of SHOW CREATE TABLE, since information_schema shows them only to
    those who may do more than SELECT.
    """
    names = {place: name for name, place in tables.items()}
    schemas = sorted({schema for schema, _ in names})
    marks = ", ".join("?" * len(schemas))
    found: dict[str, InvalidPlanError] = {}
    if db.is_mariadb:
        for schema, table in db.rows(_VERSIONED.format(marks=marks), tuple(schemas)):
            if name := names.get((schema, table)):
                found[name] = InvalidPlanError(
                    f"{name} keeps versions of its rows (system versioning), and the log tells old ones as rows",
                    path=name, hint="sync it with --mode full or incremental",
                )  # fmt: skip
    if db.settings.cascades == "ignore":
        return found
    for (schema, table), name in names.items():
        try:
            told = db.rows(f"SHOW CREATE TABLE {quoted(schema)}.{quoted(table)}")[0][1]
        except NotFoundError:
            continue
        key = _CASCADE.search(str(told))
        if key is not None and name not in found:
            found[name] = _cascading(name, key["key"], key["parent"].replace("`", ""), key["rules"].strip())
    return found


def _cascading(name: str, key: str, parent: str, rules: str) -> InvalidPlanError:
    return InvalidPlanError(
        f"the foreign key {key} deletes or changes rows of {name} with those of {parent} ({rules}), and the server "
        "does not log that", path=name,
        hint=f"sync {name} with --mode full or incremental; or set `cascades: ignore` in the connection if no such row "
        f"of {parent} ever goes or gets another key, and reconcile",
    )  # fmt: skip
