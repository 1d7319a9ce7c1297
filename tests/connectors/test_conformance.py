"""Every connector, held to the same promises: one line each."""

from __future__ import annotations

from tongqu.testing.conformance import conformance

TestPostgres = conformance("postgres", lambda request: request.getfixturevalue("pg_url"))
TestPostgres18 = conformance("postgres", lambda request: request.getfixturevalue("pg18_url"))
TestSqlite = conformance("sqlite", lambda request: f"sqlite:{request.getfixturevalue('tmp_path')}/place.db")
TestDuckdb = conformance("duckdb", lambda request: f"duckdb:{request.getfixturevalue('tmp_path')}/place.duckdb")
TestMysql = conformance("mysql", lambda request: request.getfixturevalue("mysql_url"))
TestFile = conformance("file", lambda request: f"file:{request.getfixturevalue('tmp_path')}/")
