"""The cache of a running gateway: calls, other processes and pipelines end what is kept."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tongqu.testing.command_line import inside
from tongqu.testing.services import Redis
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
  reader: {type: sqlite, path: lake.db}
  files: {type: file, path: incoming}
datasets:
  orders: {key: id, fields: {id: {type: int64, class: public}, qty: {type: int64, class: public}}}
pipelines:
  daily: {source: {connection: files, dataset: orders}, sink: {connection: lake, dataset: orders, write: upsert, key: id}}
apis:
  orders:
    source: {connection: reader, dataset: orders}
    access: {public: true, write_roles: [mes]}
    write: {insert: true, update: true}
    cache: {seconds: 600}
"""  # noqa: E501


def written(folder: Path) -> None:
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    (folder / "incoming").mkdir()
    (folder / "incoming" / "orders.csv").write_text("id,qty\n1,7\n3,9\n", encoding="utf-8")
    database = sqlite3.connect(folder / "lake.db")
    database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, qty INTEGER)")
    database.execute("INSERT INTO orders VALUES (1, 5)")
    database.commit()
    database.close()


def test_a_call_and_a_pipeline_end_what_every_process_keeps(tmp_path: Path) -> None:
    written(tmp_path)
    secret = inside(tmp_path, "client", "add", "mes", "--role", "mes", "--json").document
    with Gateway(tmp_path, "--workers", "2") as gateway:

        def seen() -> tuple[object, set[str]]:
            """What eight calls, over both processes, give; and what the caches did."""
            answers = [gateway.ask("/api/v1/orders?order=id") for _ in range(8)]
            told = {answer.headers["cache-status"] for answer in answers}
            bodies = {answer.body for answer in answers}
            assert len(bodies) == 1, bodies
            return answers[0].json, told

        assert seen() == ([{"id": 1, "qty": 5}], {"tongqu; fwd=miss", "tongqu; hit"})
        form = f"grant_type=client_credentials&client_id={secret['client_id']}&client_secret={secret['client_secret']}"
        kind = ("content-type", "application/x-www-form-urlencoded")
        token = gateway.ask("/oauth/token", "POST", form.encode(), [kind]).json["access_token"]
        mine = ("authorization", f"Bearer {token}")
        assert gateway.ask("/api/v1/orders?id=eq.1", "PATCH", {"qty": 6}, [mine]).status == 204
        assert seen()[0] == [{"id": 1, "qty": 6}]
        assert inside(tmp_path, "run", "daily", "--json").code == 0
        assert seen()[0] == [{"id": 1, "qty": 7}, {"id": 3, "qty": 9}]
        (tmp_path / "incoming" / "orders.csv").write_text("id,qty\n1,8\n", encoding="utf-8")
        places = (f"file:{tmp_path}/incoming", f"sqlite:{tmp_path}/lake.db")  # no connection's name: the same system
        assert inside(tmp_path, "sync", *places, "--table", "orders", "--write", "upsert", "--key", "id").code == 0
        assert seen()[0] == [{"id": 1, "qty": 8}, {"id": 3, "qty": 9}]
        assert "tongqu; hit" in seen()[1]
        metrics = gateway.ask("/metrics").body.decode()
        assert 'tongqu_cache_total{result="hit"}' in metrics
        assert gateway.stop() == 0, gateway.errors
    assert "Traceback" not in gateway.errors, gateway.errors


def test_two_replicas_with_homes_of_their_own_share_one_redis(redis: Redis, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        written(folder)
        text = PROJECT.replace("path: lake.db", f"path: {one}/lake.db").replace(
            "public: true,", "public: true, roles: [mes],"
        )
        text += "gateway: {cache: {redis: '${env:CACHE_URL}'}}\n"
        (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    environ = {"CACHE_URL": redis.database()}
    with Gateway(one, environ=environ) as first, Gateway(other, environ=environ) as second:
        path = "/api/v1/orders?order=id"
        assert [gateway.ask(path).headers["cache-status"] for gateway in (first, second)] == [
            "tongqu; fwd=miss",
            "tongqu; hit",
        ]
        assert inside(one, "run", "daily", "--json").code == 0  # told to the home of the first, where nobody asks
        new = second.until(lambda answer: answer.json[0]["qty"] == 7, path, seconds=5)
        assert new.json == [{"id": 1, "qty": 7}, {"id": 3, "qty": 9}]
        assert [gateway.stop() for gateway in (first, second)] == [0, 0], first.errors + second.errors
