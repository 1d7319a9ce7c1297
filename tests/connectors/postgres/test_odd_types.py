"""Types that other systems lack: exact in the pass lane, exact or set aside with their cause in the columnar lane."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tongqu.testing.command_line import tongqu
from tongqu.testing.services import Postgres

TABLE = """
create type mood as enum ('sad', '开心');
create domain positive as int check (value > 0);
create type pair as (x int, y text);
create table odd (
  id int primary key, m mood, ms mood[], d positive, p pair, i interval, b bit(5), ir int4range, ia int[], ta text[],
  na numeric(10,2)[], n numeric, n2 numeric(50,10), tz timetz, t time, u uuid, j json, jb jsonb, x xml, ip inet,
  c char(5), o oid, f real, f8 float8, bytes bytea, "Weird ""name" text, "select" int, "中文列" text, ts timestamp,
  at timestamptz
);
insert into odd (id) values (0);
insert into odd values (1, '开心', '{sad,开心}', 5, '(1,"a,b")', '1 year 2 mons 3 days 04:05:06.789', '10101', '[1,5)',
  '{1,NULL,3}', '{"a","","null",NULL,"x,y","q\\"q"}', '{1.10,2.25}', 123.456000, 12345678901234567890.1234567890,
  '10:00:00+08', '23:59:59.999999', '123e4567-e89b-12d3-a456-426614174000', '{"a": 1.0,  "b":[]}', '{"中": "文"}',
  '<a>1</a>', '10.0.0.1/8', 'ab', 42, 1.1, '1e308', '\\x00ff', 'w', 1, '表情😀', '2024-01-01 00:00:00.123456',
  '2024-01-01 00:00:00.000001+08');
"""
BAD = """
create table bad (id int primary key, n numeric(8,2), d date, at timestamptz, ia int[], da date[]);
insert into bad values (0, 1, '2024-01-01', now(), '{1}', '{2024-01-01}');
insert into bad (id, n) values (1, 'NaN');
insert into bad (id, d) values (2, 'infinity');
insert into bad (id, at) values (3, '-infinity');
insert into bad (id, ia) values (4, '{{1,2},{3,4}}'), (5, '[0:1]={5,6}');
insert into bad (id, da) values (6, '{infinity}');
"""


def texts(url: str, table: str) -> list[tuple[str]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"select r::text from {table} as r order by id").fetchall()


@pytest.mark.parametrize("lane", ["pass", "columnar"])
def test_every_type_arrives_as_it_was(postgres: Postgres, tmp_path: Path, lane: str) -> None:
    source, target = postgres.database(), postgres.database()
    with psycopg.connect(source) as connection:
        connection.execute(TABLE)
    done = tongqu(tmp_path, "sync", "${env:S}", "${env:D}", "--lane", lane, "--json", S=source, D=target)
    assert done.code == 0, done.out + done.err
    assert texts(target, "odd") == texts(source, "odd")


def test_values_that_arrow_lacks_pass_as_bytes_and_are_set_aside_as_columns(postgres: Postgres, tmp_path: Path) -> None:
    source, target = postgres.database(), postgres.database()
    with psycopg.connect(source) as connection:
        connection.execute(BAD)
    done = tongqu(tmp_path, "sync", "${env:S}", "${env:D}", "--lane", "pass", S=source, D=target)
    assert done.code == 0, done.err
    assert texts(target, "bad") == texts(source, "bad")
    done = tongqu(tmp_path, "sync", "${env:S}", "${env:D}", "--lane", "columnar", S=source, D=target)
    assert done.code == 3, done.err
    assert [row[0][:2] for row in texts(target, "bad")] == ["(0"]
    with psycopg.connect(target) as connection:
        found = connection.execute("select field, code from _tongqu_quarantine order by original::json->>'id'")
        assert found.fetchall() == [(f, "read.no_such_value") for f in ("n", "d", "at", "ia", "ia", "da")]
