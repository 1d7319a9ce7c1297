"""Single columns of a stored CREATE TABLE are changed; everything else stays as somebody wrote it."""

from __future__ import annotations

import pytest

from tongqu.connectors.sqlite.definition import changed

CASES = [
    ("CREATE TABLE t (id INTEGER, v INT)", {"v": "BIGINT"}, (), "CREATE TABLE t (id INTEGER, v BIGINT)"),
    ("create table t(v INT not null default 3, w)", {"V": "TEXT"}, ("v",), "create table t(v TEXT  default 3, w)"),
    ('CREATE TABLE "a(b" ("v,1" DECIMAL(5,2) CHECK ("v,1" > 0))', {"v,1": "DECIMAL(12,4)"}, (),
     'CREATE TABLE "a(b" ("v,1" DECIMAL(12,4) CHECK ("v,1" > 0))'),
    ("CREATE TABLE t (\n  v INT, -- v is INT, not text\n  /* w */ w TEXT,\n  PRIMARY KEY (v)\n)", {"w": "JSON"}, (),
     "CREATE TABLE t (\n  v INT, -- v is INT, not text\n  /* w */ w JSON,\n  PRIMARY KEY (v)\n)"),
    ("CREATE TABLE t (v CONSTRAINT c NOT NULL ON CONFLICT FAIL, w NOT NULL)", {}, ("v",),
     "CREATE TABLE t (v , w NOT NULL)"),
    ("CREATE TABLE t ([v] INT, `w` INT) WITHOUT ROWID", {"w": "REAL"}, (),
     "CREATE TABLE t ([v] INT, `w` REAL) WITHOUT ROWID"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "types", "optional", "expected"), CASES)
def test_a_column_is_changed(sql: str, types: dict[str, str], optional: tuple[str, ...], expected: str) -> None:
    assert changed(sql, types, optional) == expected
