"""Dates that Python has not are the same in every form; Arrow, which has not all of them, says so."""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from itertools import product
from pathlib import Path

import psycopg
import pyarrow as pa
from lxml import etree

from tongqu.testing.services.gateway import Gateway

XML = [("accept", "application/xml")]
PROJECT = """\
project: odd
connections: {{pg: {{type: postgres, url: "{url}"}}}}
apis:
  coins: {{source: {{connection: pg, dataset: "古 coins"}}, access: {{public: true}}}}
"""


TABLE = 'CREATE TABLE "古 coins" ("select" bigint PRIMARY KEY, struck date, at timestamp, on_ timestamptz)'
ROWS = [
    ("0044-03-15 BC", "0044-03-15 12:00:00.5 BC"), ("1900-02-03", "1900-02-03 04:05:06"), ("9999-12-31", None),
    ("12026-01-02", "12026-01-02 03:04:05"), ("infinity", "infinity"), ("-infinity", "-infinity"),
]  # fmt: skip


def test_dates_that_python_has_not_are_the_same_in_every_form(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as session:
        session.execute(TABLE)
        for number, (day, moment) in enumerate(ROWS):
            session.execute(
                'INSERT INTO "古 coins" VALUES (%s, %s, %s, %s)', (9007199254740993 + number, day, moment, moment)
            )
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=pg_url), encoding="utf-8")
    with Gateway(tmp_path) as gateway:
        rows = gateway.ask("/api/v1/coins?order=select").json
        assert [row["struck"] for row in rows] == [day for day, _ in ROWS]
        told = gateway.ask("/api/v1/coins?order=select", headers=[("accept", "text/csv")]).body.decode()
        assert list(csv.DictReader(io.StringIO(told))) == [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
        ]
        tree = etree.fromstring(gateway.ask("/api/v1/coins?order=select", headers=XML).body)
        assert [[cell.text for cell in row] for row in tree] == [
            [None if value is None else str(value) for value in row.values()] for row in rows
        ]
        arrow = [("accept", "application/vnd.apache.arrow.stream")]
        refused = gateway.ask("/api/v1/coins", headers=arrow)
        assert (refused.status, refused.json["code"]) == (422, "value.unfit")
        plain = gateway.ask("/api/v1/coins?struck=gte.1900-01-01&struck=lt.2000-01-01", headers=arrow)
        assert pa.ipc.open_stream(plain.body).read_all().column("struck").to_pylist() == [date(1900, 2, 3)]


def test_pages_in_the_order_of_such_dates(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as session:
        session.execute(TABLE)
        for number, (day, _) in enumerate(ROWS):
            session.execute('INSERT INTO "古 coins" VALUES (%s, %s, %s, %s)', (number, day, day, day))
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=pg_url), encoding="utf-8")
    with Gateway(tmp_path) as gateway:
        for field, accept in product(["struck", "at", "on_"], ["application/json", "text/csv"]):
            seen, after = [], ""
            for _ in ROWS:
                headers = [("accept", accept), *([("tongqu-after", after)] if after else [])]
                page = gateway.ask(f"/api/v1/coins?select=%22select%22&order={field}&limit=1", headers=headers)
                assert page.status == 200, page.body
                seen += re.findall(rb"\d+", page.body)
                after = "".join(re.findall('tongqu-after="([^"]*)"', page.headers.get("link", "")))
            assert seen == [b"5", b"0", b"1", b"2", b"3", b"4"], (field, accept)
