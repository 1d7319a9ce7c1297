"""Regular expressions of callers, through the whole gateway to PostgreSQL: those that keep it busy are refused."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import psycopg

from tongqu.testing.services.gateway import Gateway

PROJECT = """\
project: odd
connections: {{pg: {{type: postgres, url: "{url}"}}}}
apis:
  words: {{source: {{connection: pg, dataset: pattern_words}}, access: {{public: true}}}}
"""
COSTLY = ("(a*)*b", "(a|a)*(b{1,200}){1,200}", "(.*a){25}", "(x+x+)+y")


def test_a_costly_pattern_never_reaches_the_database(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as session:
        session.execute("CREATE TABLE pattern_words (id int PRIMARY KEY, word text)")
        session.execute("INSERT INTO pattern_words VALUES (1, repeat('a', 5000)), (2, 'beta'), (3, NULL)")
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=pg_url), encoding="utf-8")
    with Gateway(tmp_path) as gateway:
        for operator in ("match", "imatch", "not.match"):
            for pattern in COSTLY:
                refused = gateway.ask(f"/api/v1/words?word={operator}.{quote(pattern, safe='')}")
                assert (refused.status, refused.json["code"]) == (422, "value.invalid"), (operator, pattern)
                assert refused.json["errors"][0]["parameter"] == "word"
            fine = gateway.ask(f"/api/v1/words?word={operator}.{quote('^b[a-z]{2,3}$', safe='')}&select=id&order=id")
            assert fine.json == [{"id": 1 if operator == "not.match" else 2}]
        graphql = {"query": '{words(where: {word: {match: "(a*)*b"}}) {nodes {id}}}'}
        told = gateway.ask("/graphql", "POST", graphql).json["errors"]
        assert [one["extensions"]["code"] for one in told] == ["value.invalid"]
        with psycopg.connect(pg_url) as session:
            ran = session.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND (state = 'active' OR query LIKE '%a*%')"
            ).fetchone()
        assert ran == (0,)
