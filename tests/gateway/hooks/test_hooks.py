"""`/hooks/{name}` of a running `tongqu serve`: kept before it is answered, once, and read by a pipeline."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tongqu.testing.command_line import inside, query
from tongqu.testing.services.gateway import Answered, Gateway

SHARED = "whsec_" + base64.b64encode(b"k" * 32).decode()
TOKEN = "gitlab-token-1"
SECRETS = {"ORDERS": SHARED, "GITHUB": "gh-secret", "GITLAB": TOKEN}
ALONE = ("--concurrency", "0")
"""Pipelines are run by the tests themselves."""
PROJECT = """
project: plant
connections:
  events: {type: queue, path: events.queue}
  lake: {type: sqlite, path: lake.db}
hooks:
  orders: {verify: standard, secret: "${env:ORDERS}", to: {connection: events}, headers: [X-Shop, Authorization]}
  code:
    verify: github
    secret: "${env:GITHUB}"
    to: {connection: events, topic: pushes}
    respond: {status: 202, body: '{"ok": true}'}
  lab:
    verify: token
    secret: "${env:GITLAB}"
    show: {header: X-Gitlab-Token}
    to: {connection: events}
    dedup: {by: field, name: object.id}
    limit: {requests: 4, per: hour}
    body_kb: 1
pipelines:
  orders:
    source: {hook: orders}
    steps:
      - parse: {column: body, format: json, fields: {order_no: integer}}
    sink: {connection: lake, dataset: orders}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def gateway(folder: Path) -> Iterator[Gateway]:
    with Gateway(folder, *ALONE, environ=SECRETS) as gateway:
        yield gateway


def order(gateway: Gateway, number: int, id: str, **headers: str) -> Answered:
    body = json.dumps({"order_no": number, "note": "x' OR 1=1; DROP TABLE lots --"})
    now = time.time()
    signed = Webhook(SHARED).sign(id, datetime.fromtimestamp(now, UTC), body)
    given = [("webhook-id", id), ("webhook-timestamp", str(int(now))), ("webhook-signature", signed)]
    given += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return gateway.ask("/hooks/orders", "POST", body.encode(), given)


def records(folder: Path, topic: str) -> int:
    shown = inside(folder, "queue", "show", "events", topic, "--json").document
    return int(shown["topics"][0]["records"])


def arrived(folder: Path) -> list[tuple[Any, ...]]:
    lake = folder / "lake.db"
    if not lake.exists() or not query(lake, "SELECT 1 FROM sqlite_master WHERE name = 'orders'"):
        return []
    return query(folder / "lake.db", "SELECT id, order_no FROM orders ORDER BY order_no")


def caught_up(folder: Path) -> list[tuple[Any, ...]]:
    done = inside(folder, "run", "orders", "--until-caught-up", "--json", **SECRETS)
    assert done.code == 0, done
    return arrived(folder)


def test_events_become_rows_once(gateway: Gateway, folder: Path) -> None:
    assert order(gateway, 1, "a", x_shop="north").status == 200
    again = order(gateway, 1, "a")
    assert (again.status, again.headers["tongqu-known"]) == (200, "true")
    assert order(gateway, 2, "b").status == 200
    assert caught_up(folder) == [("a", 1), ("b", 2)]
    assert order(gateway, 3, "c").status == 200
    assert caught_up(folder) == [("a", 1), ("b", 2), ("c", 3)]
    ((headers,),) = query(folder / "lake.db", "SELECT headers FROM orders WHERE id = 'a'")
    assert json.loads(headers) == {"x-shop": "north"}


def test_a_running_server_takes_events_on_by_itself(folder: Path) -> None:
    with Gateway(folder, environ=SECRETS) as gateway:
        assert order(gateway, 1, "a").status == 200
        deadline, pause = time.monotonic() + 90, Event()
        while not (arrived(folder) or time.monotonic() > deadline):
            pause.wait(0.1)
        assert arrived(folder) == [("a", 1)], gateway.errors


def test_who_follows_a_hook_may_be_there_before_the_gateway(folder: Path) -> None:
    assert caught_up(folder) == []
    with Gateway(folder, *ALONE, environ=SECRETS) as gateway:
        assert order(gateway, 1, "a").status == 200
        assert caught_up(folder) == [("a", 1)]


def test_many_at_once_share_the_disk_and_lose_nothing(gateway: Gateway, folder: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: order(gateway, n % 100, str(n % 100)).status, range(200)))
    assert answers == [200] * 200
    assert records(folder, "orders") == 100


def test_what_is_not_proven_leaves_nothing(gateway: Gateway, folder: Path) -> None:
    body = b'{"secret-text": 1}'
    for path, method, headers, code in (
        ("/hooks/code", "POST", [("x-hub-signature-256", "sha256=00")], "auth.invalid"),
        ("/hooks/code", "POST", [], "auth.missing"),
        ("/hooks/code", "GET", [], "method.refused"),
        ("/hooks/code", "POST", [("content-type", "text/plain")], "media.unknown"),
        ("/hooks/nothing", "POST", [], "api.unknown"),
        ("/hooks/code?a=1&a=2", "POST", [], "query.malformed"),
    ):
        answer = gateway.ask(path, method, None if method == "GET" else body, headers)
        assert answer.json["code"] == code, answer
    assert records(folder, "pushes") == 0
    assert "secret-text" not in gateway.errors
    gateway.until(lambda answer: b'"auth.invalid"' in answer.body, "/metrics", seconds=60)


def test_answers_limits_and_known_fields(gateway: Gateway, folder: Path) -> None:
    body = b'{"zen": 1}'
    signature = "sha256=" + hmac.new(b"gh-secret", body, hashlib.sha256).hexdigest()
    for id in ("one", "two"):  # the id is not signed: the same body is the same delivery
        sent = [("x-hub-signature-256", signature), ("x-github-event", "ping"), ("x-github-delivery", id)]
        answer = gateway.ask("/hooks/code", "POST", body, sent)
        assert (answer.status, answer.json) == (202, {"ok": True})
    assert records(folder, "pushes") == 1
    token = [("x-gitlab-token", TOKEN)]
    found = [
        gateway.ask("/hooks/lab", "POST", body, token).status
        for body in (b'{"object":{"id":1}}', b'{"object":{"id":1},"again":true}', b'{"object":{"id":2}}')
    ]
    assert (found, records(folder, "lab")) == ([200] * 3, 2)
    assert gateway.ask("/hooks/lab", "POST", b'{"a":"' + b"x" * 2000 + b'"}', token).status == 413
    late = gateway.ask("/hooks/lab", "POST", b"{}", token)
    assert (late.status, int(late.headers["retry-after"]) > 0) == (429, True)


@pytest.mark.parametrize(("point", "kept"), [("before_append:4", 0), ("after_append:4", 1)])
def test_a_sender_that_heard_nothing_comes_again_and_is_kept_once(folder: Path, point: str, kept: int) -> None:
    # the first three commits make the topics
    crashing = Gateway(folder, *ALONE, environ={**SECRETS, "TONGQU_CRASH_AT": point})
    with crashing as gateway, pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
        order(gateway, 1, "a")
    assert records(folder, "orders") == kept
    with Gateway(folder, *ALONE, environ=SECRETS) as gateway:
        assert order(gateway, 1, "a").status == 200
    assert caught_up(folder) == [("a", 1)]


def test_a_hook_of_a_project_is_checked(folder: Path) -> None:
    text = PROJECT.replace("to: {connection: events, topic: pushes}", "to: {connection: lake}")
    (folder / "tongqu.yaml").write_text(text.replace("{hook: orders}", "{hook: order}"))
    done = inside(folder, "check", "--json")
    assert done.code == 2
    found = {problem["path"].rpartition(":")[2]: problem["message"] for problem in done.document["problems"]}
    assert found["hooks.code.to.connection"] == "events are kept in a queue, and 'lake' is none"
    assert found["pipelines.orders.source.hook"] == "there is no hook 'order'"
    assert len(found) == 2


@pytest.mark.parametrize("source", ["{hook: orders}", "{hook: [orders]}"])
def test_what_is_wrong_with_a_hook_is_told_once(folder: Path, source: str) -> None:
    text = PROJECT.replace("verify: standard", "verify: standart").replace(
        "source: {hook: orders}", f"source: {source}"
    )
    (folder / "tongqu.yaml").write_text(text)
    done = inside(folder, "check", "--json")
    paths = [problem["path"].rpartition(":")[2] for problem in done.document["problems"]]
    wrong = ["hooks.orders.verify"] + (["pipelines.orders.source.hook"] if "[" in source else [])
    assert (done.code, sorted(set(paths))) == (2, wrong)
