"""Dates that Python has not: JSON, which the database makes, holds them; other forms say that they cannot."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tongqu.testing.services.gateway import Gateway

PROJECT = """\
project: odd
connections: {{pg: {{type: postgres, url: "{url}"}}}}
apis:
  coins: {{source: {{connection: pg, dataset: "古 coins"}}, access: {{public: true}}}}
"""


def test_a_date_before_the_year_one_is_no_failure(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as session:
        session.execute('CREATE TABLE "古 coins" ("select" bigint PRIMARY KEY, struck date)')
        session.execute("INSERT INTO \"古 coins\" VALUES (9007199254740993, '0044-03-15 BC')")
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=pg_url), encoding="utf-8")
    with Gateway(tmp_path) as gateway:
        assert gateway.ask("/api/v1/coins").body == b'[{"select":9007199254740993,"struck":"0044-03-15 BC"}]'
        refused = gateway.ask("/api/v1/coins", headers=[("accept", "text/csv")])
        assert (refused.status, refused.json["code"]) == (422, "value.unfit")
        rest = gateway.ask("/api/v1/coins?select=%22select%22", headers=[("accept", "text/csv")])
        assert rest.body == b"select\r\n9007199254740993\r\n"
