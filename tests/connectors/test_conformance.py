"""Every connector, held to the same promises: one line each."""

from __future__ import annotations

from tongqu.testing.conformance import conformance

TestPostgres = conformance("postgres", lambda request: request.getfixturevalue("pg_url"))
TestPostgres18 = conformance("postgres", lambda request: request.getfixturevalue("pg18_url"))
TestSqlite = conformance(
    "sqlite",
    lambda request: f"sqlite:{request.getfixturevalue('tmp_path')}/place.db",
    waivers={
        "test_a_type_comes_back[negative_zero]": "never: the file format stores whole REALs as integers",
        "test_a_type_is_merged[negative_zero]": "never: the file format stores whole REALs as integers",
    },
)
TestDuckdb = conformance("duckdb", lambda request: f"duckdb:{request.getfixturevalue('tmp_path')}/place.duckdb")
TestMysql = conformance(
    "mysql",
    lambda request: request.getfixturevalue("mysql_url"),
    waivers={
        "test_a_type_comes_back[instant]": "never: DATETIME has no zone, TIMESTAMP ends in 2038; the instant is UTC",
        "test_a_type_is_merged[instant]": "never: DATETIME has no zone, TIMESTAMP ends in 2038; the instant is UTC",
        "test_a_type_comes_back[negative_zero]": "never: the server stores minus zero as zero",
        "test_a_type_is_merged[negative_zero]": "never: the server stores minus zero as zero",
    },
)
TestFile = conformance("file", lambda request: f"file:{request.getfixturevalue('tmp_path')}/")
