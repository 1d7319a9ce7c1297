"""Takes rows out of a target, deleted or so that they can be seen later, and changes single columns of others."""

from __future__ import annotations

from collections.abc import Sequence

from tongqu.core.data import Deletes, Write, WriteMode
from tongqu.kit.sql.landing import Landing
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, VALID_FROM, VALID_TO
from tongqu.kit.tables.db import TableDb


def deleted(own: TableDb, target: str, where: str) -> int:
    """Delete the rows `t` of the quoted target for which a condition holds; returns how many."""
    found = own.count(target, where)
    own.say([own.dialect.delete(target, "t", where)])
    return found


def taken_out(own: TableDb, write: Write, target: str, *, among: str, at: str) -> int:
    """As `deleted` for `among`, or end the rows' versions, or mark them, as the write asks; `at` is the instant."""
    dialect = own.dialect
    if write.mode is not WriteMode.HISTORY:
        if write.deletes is not Deletes.SOFT:
            return deleted(own, target, among)
        where = f"t.{own.quote(DELETED_AT)} IS NULL AND {among}"
        found = own.count(target, where)
        own.say([dialect.update_alone(target, [(own.quote(DELETED_AT), at)], where)])
        return found
    where = f"t.{own.quote(CURRENT)} = {dialect.truth[0]} AND {among}"
    found = own.count(target, where)
    unseen = f"t.{own.quote(VALID_FROM)} >= {at} AND {where}"  # it began with this run: nobody has seen it
    ended = [(own.quote(VALID_TO), at), (own.quote(CURRENT), dialect.truth[1])]
    own.say([dialect.delete(target, "t", unseen), dialect.update_alone(target, ended, where)])
    return found


def update_from(own: TableDb, tables: tuple[str, str], key: Sequence[str], columns: Sequence[str], also: str) -> None:
    """As SqlSystem.update_from."""
    sets = [(own.quote(name), f"s.{own.quote(name)}") for name in columns]
    own.say([own.dialect.update(*tables, sets, _same(own, key), f"1 = 1{also}")])


def keep_matched(own: TableDb, tables: tuple[str, str], key: Sequence[str], also: str) -> None:
    """As SqlSystem.keep_matched."""
    where = f"NOT EXISTS (SELECT 1 FROM {tables[1]} t WHERE {_same(own, key)}{also})"
    own.say([own.dialect.delete(tables[0], "s", where)])


def outdated(own: TableDb, landing: Landing, places: tuple[str, str, str]) -> bool:
    """As Quarantining.outdated."""
    cursor, (target, chunk, _) = landing.write.cursor, places
    if cursor is None or landing.target is None or cursor not in landing.target.columns:
        return False
    tests = [_same(own, landing.write.key), f"t.{own.quote(cursor)} > s.{own.quote(cursor)}"]
    if landing.write.mode is WriteMode.HISTORY:
        tests.append(f"t.{own.quote(CURRENT)} = {own.dialect.truth[0]}")
    return bool(own.rows(f"SELECT COUNT(*) FROM {chunk} s JOIN {target} t ON {' AND '.join(tests)}")[0][0])


def _same(own: TableDb, key: Sequence[str]) -> str:
    return " AND ".join(f"t.{own.quote(name)} = s.{own.quote(name)}" for name in key)
