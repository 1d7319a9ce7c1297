"""Live rows through the public door: a running `tongqu serve`, the `websockets` client, and server-sent events."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tongqu.store.audit.reading import Wanted, newest
from tongqu.store.audit.trail import place_of
from tongqu.store.feed import Feed
from tongqu.store.home import Home
from tongqu.testing.command_line import inside, make
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: lots.db}}
apis:
  lots:
    source: {connection: db, dataset: lots, key: [id]}
    access: {roles: [quality], write_roles: [quality], rows: "plant = actor.plant"}
    write: {insert: true, update: true, delete: true, ingest: true}
    limit: {requests: 100000, per: second}
  open:
    source: {connection: db, dataset: lots, key: [id]}
    access: {public: true}
    live: {cursor: changed, every_seconds: 0.2, lag_seconds: 0}
gateway: {clients: {elsewhere: {allow: [10.9.9.9/32]}}}
"""
ROWS = [(1, "A", 1.5, 1), (2, "A", 2.5, 2), (3, "B", 3.5, 3)]
COLUMNS = "id INTEGER PRIMARY KEY, plant TEXT, weight REAL, changed INTEGER"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, str, Path]]:
    """A gateway over a small table, and the key of a client of plant A."""
    folder = tmp_path_factory.mktemp("live")
    make(folder / "lots.db", "lots", COLUMNS, ROWS)
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    key = client(folder, "mes")
    with Gateway(folder) as gateway:
        yield gateway, key, folder


def client(folder: Path, name: str, plant: str = "A") -> str:
    """A new client's API key."""
    done = inside(folder, "client", "add", name, "--role", "quality", "--attribute", f"plant={plant}", "--key",
                  "api-key", "--json")  # fmt: skip
    return str(done.document["api_key"])


def change(gateway: Gateway, key: str, method: str, path: str, body: Any = None) -> int:
    return gateway.ask(path, method, body, headers=[("authorization", f"Bearer {key}")]).status


@contextmanager
def socket(gateway: Gateway, key: str = "", path: str = "/live/v1/lots", **more: Any) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = gateway.url.replace("http", "ws") + path
    with connect(address, additional_headers=headers, close_timeout=2, **more) as opened:
        yield opened


def say(opened: ClientConnection, **message: Any) -> dict[str, Any]:
    opened.send(json.dumps(message))
    return hear(opened)


def hear(opened: ClientConnection, seconds: float = 5.0) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(opened.recv(timeout=seconds))
    return told


def test_a_subscriber_is_told_of_its_own_rows_and_of_no_others(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, folder = place
    other = client(folder, "other-plant", "B")
    with socket(gateway, key) as mine:
        assert say(mine, type="subscribe", id="s", query="select=id,weight")["type"] == "subscribed"
        assert change(gateway, other, "POST", "/api/v1/lots", {"id": 30, "plant": "B", "weight": 9}) == 201
        assert change(gateway, key, "POST", "/api/v1/lots", {"id": 10, "plant": "A", "weight": 4}) == 201
        told = hear(mine)
        assert (told["op"], told["key"], told["row"]) == ("insert", {"id": 10}, {"id": 10, "weight": 4.0})
        assert change(gateway, key, "PATCH", "/api/v1/lots?id=eq.10", {"weight": 5}) == 204
        assert hear(mine)["row"] == {"id": 10, "weight": 5.0}
        assert change(gateway, key, "DELETE", "/api/v1/lots/10") == 204
        told = hear(mine)
        assert (told["op"], told["key"], "row" in told) == ("delete", {"id": 10}, False)
        assert change(gateway, other, "DELETE", "/api/v1/lots/30") == 204
        assert say(mine, type="ping", id="p") == {"type": "pong", "id": "p"}


def test_a_row_that_leaves_the_filter_is_told_as_deleted(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with socket(gateway, key) as mine:
        say(mine, type="subscribe", id="s", query="weight=lt.2")
        assert change(gateway, key, "PATCH", "/api/v1/lots?id=eq.1", {"weight": 7}) == 204
        told = hear(mine)
        assert (told["op"], told["key"]) == ("delete", {"id": 1})
        assert change(gateway, key, "PATCH", "/api/v1/lots?id=eq.1", {"weight": 1.5}) == 204
        told = hear(mine)
        assert (told["op"], told["row"]["weight"]) == ("insert", 1.5)


def test_who_comes_back_with_a_position_has_missed_nothing(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with socket(gateway, key) as mine:
        position = say(mine, type="subscribe", id="s")["position"]
    for number in (40, 41):
        assert change(gateway, key, "POST", "/api/v1/lots", {"id": number, "plant": "A", "weight": 1}) == 201
    assert change(gateway, key, "DELETE", "/api/v1/lots/40") == 204
    with socket(gateway, key) as mine:
        say(mine, type="subscribe", id="s", after=position)
        rows: set[int] = set()  # as the subscriber keeps them; 40 may have come and gone unseen
        while 41 not in rows or 40 in rows:
            told = hear(mine)
            rows = rows - {told["key"]["id"]} if told["op"] == "delete" else rows | {told["key"]["id"]}
    change(gateway, key, "DELETE", "/api/v1/lots/41")


def test_the_token_may_come_in_the_first_message_and_not_in_the_address(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with socket(gateway) as mine:
        assert say(mine, type="auth", token=key) == {"type": "welcome"}
        assert say(mine, type="subscribe", id="s")["type"] == "subscribed"
    with socket(gateway) as nobody:
        told = say(nobody, type="subscribe", id="s")
        assert (told["type"], told["code"]) == ("error", "auth.missing")
        with pytest.raises(ConnectionClosed) as closed:
            hear(nobody)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401
    with pytest.raises(InvalidStatus) as refused, socket(gateway, path=f"/live/v1/lots?access_token={key}"):
        pass
    assert refused.value.response.status_code == 400
    with pytest.raises(InvalidStatus) as refused, socket(gateway, key, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_what_a_subscriber_may_not_see_cannot_be_asked(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with socket(gateway, key) as mine:
        for query, code in (
            ("secret=eq.1", "field.unknown"), ("order=id", "query.malformed"), ("select=count()", "query.malformed"),
            ("limit=1", "query.malformed"),
        ):  # fmt: skip
            assert say(mine, type="subscribe", id="s", query=query)["code"] == code
        assert say(mine, type="subscribe", id="s", after="AAAAAAAAAAAAAAAAAAAAAA")["code"] == "cursor.invalid"
        mine.send("no json")
        assert hear(mine)["code"] == "message.malformed"


def test_a_right_that_is_taken_away_ends_the_stream_within_a_second(place: tuple[Gateway, str, Path]) -> None:
    gateway, _, folder = place
    key = client(folder, "leaver")
    with socket(gateway, key) as mine:
        say(mine, type="subscribe", id="s")
        inside(folder, "client", "disable", "leaver")
        began = time.monotonic()
        assert hear(mine)["code"] == "auth.invalid"
        assert time.monotonic() - began < 1.0
        with pytest.raises(ConnectionClosed) as closed:
            hear(mine)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401


def test_events_are_sent_to_a_browser_and_resumed_by_its_last_id(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with closing(follow(gateway, "/live/v1/lots?select=id", key)) as events:
        assert next(events)[0] == "subscribed"
        assert change(gateway, key, "POST", "/api/v1/lots", {"id": 50, "plant": "A", "weight": 1}) == 201
        kind, mark, data = next(event for event in events if event[2]["key"] == {"id": 50})
        assert (kind, data["row"]) == ("change", {"id": 50})
    assert change(gateway, key, "DELETE", "/api/v1/lots/50") == 204
    with closing(follow(gateway, "/live/v1/lots?select=id", key, mark)) as events:
        assert next(events)[0] == "subscribed"
        kind, _, data = next(event for event in events if event[2]["key"] == {"id": 50})
        assert (kind, data["op"]) == ("change", "delete")


def test_changes_may_be_told_as_cloud_events(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with ExitStack() as opened:
        mine = opened.enter_context(socket(gateway, key))
        told = say(mine, type="subscribe", id="s", query="select=id&id=eq.7000", envelope="cloudevents")
        assert told["type"] == "subscribed"
        events = opened.enter_context(
            closing(follow(gateway, "/live/v1/lots?select=id&id=eq.7000", key, prefer="envelope=cloudevents"))
        )
        assert next(events)[0] == "subscribed"
        assert change(gateway, key, "POST", "/api/v1/lots", {"id": 7000, "plant": "A", "weight": 1}) == 201
        kind, mark, first = next(events)
        second = hear(mine, 7000)
        assert kind == "change" and first["id"] == mark and second["position"] == second["event"]["id"]
        for event in (first, second["event"]):
            assert (event["specversion"], event["type"], event["source"]) == (
                "1.0", "io.tongqu.lots.insert", "/api/v1/lots",
            )  # fmt: skip
            assert event["data"] == {"op": "insert", "key": {"id": 7000}, "row": {"id": 7000}}
        assert say(mine, type="subscribe", id="t", envelope="other")["code"] == "message.malformed"
    assert change(gateway, key, "DELETE", "/api/v1/lots/7000") == 204


def test_what_others_change_is_found_by_the_cursor_ties_and_all(place: tuple[Gateway, str, Path]) -> None:
    gateway, _, folder = place
    with closing(follow(gateway, "/live/v1/open?plant=eq.C")) as events:
        assert next(events)[0] == "subscribed"
        with closing(Feed(gateway.home / "feed.db")) as feed:
            gateway.until(lambda _: feed.cursor("db/lots"))  # what is there before that is not new
        for numbers in ((60, 61), (62,)):  # the same cursor value, committed one after the other
            with sqlite3.connect(folder / "lots.db") as database:
                database.executemany("INSERT INTO lots VALUES (?, 'C', 1, 77)", [(number,) for number in numbers])
            database.close()
            found = {next(events)[2]["row"]["id"] for _ in numbers}
            assert found == set(numbers)


Told = tuple[str, str, dict[str, Any]]


def follow(gateway: Gateway, path: str, key: str = "", mark: str = "", prefer: str = "") -> Generator[Told, None, None]:
    """The events of a stream: kind, id, data."""
    given = {"Authorization": f"Bearer {key}" if key else "", "Last-Event-ID": mark, "Prefer": prefer}
    headers = {name: text for name, text in given.items() if text}
    with urlopen(Request(gateway.url + path, headers=headers), timeout=30) as answer:  # noqa: S310  # our own address
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer:
            name, _, text = line.decode().rstrip("\n").partition(": ")
            if name:
                event[name] = text
            elif "event" in event:
                yield event["event"], event["id"], json.loads(event["data"])
                event = {}


def test_what_subscribers_were_told_is_audited(place: tuple[Gateway, str, Path]) -> None:
    gateway, key, _ = place
    with socket(gateway, key) as mine:
        say(mine, type="subscribe", id="s", query="select=id,weight")
        assert change(gateway, key, "PATCH", "/api/v1/lots?id=eq.2", {"weight": 3}) == 204
        hear(mine)

        wanted = ("tell", "client:mes", ["id", "weight"])

        def told() -> list[dict[str, Any]]:
            shown = newest(place_of(Home(gateway.home), make=False), Wanted(kind="call"), 50)
            return [one for one in shown if (one["what"], one["who"], one.get("fields")) == wanted]

        gateway.until(lambda _: told())
        assert sum(one["rows"] for one in told()) >= 1


def test_a_cursor_that_is_no_field_is_refused_when_it_is_published(tmp_path: Path) -> None:
    make(tmp_path / "lots.db", "lots", COLUMNS, ROWS)
    (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("cursor: changed", "cursor: chnged"), encoding="utf-8")
    (problem,) = inside(tmp_path, "api", "show", "open", "--files", "--json").document["problems"]
    assert problem["path"].endswith("apis.open.live.cursor")
    assert "changed" in problem["hint"]


def test_several_processes_tell_what_any_of_them_changed(tmp_path: Path) -> None:
    make(tmp_path / "lots.db", "lots", COLUMNS, ROWS)
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    key = client(tmp_path, "mes")
    with Gateway(tmp_path, "--workers", "2") as gateway, ExitStack() as several:
        sockets = [several.enter_context(socket(gateway, key)) for _ in range(6)]
        for one in sockets:
            say(one, type="subscribe", id="s")
        for number in range(70, 74):
            assert change(gateway, key, "POST", "/ingest/lots", {"id": number, "plant": "A", "weight": 1}) == 202
        for one in sockets:
            assert {hear(one)["key"]["id"] for _ in range(4)} == {70, 71, 72, 73}


def test_limits_of_a_client_hold_for_a_token_in_a_message_too(place: tuple[Gateway, str, Path]) -> None:
    gateway, _, folder = place
    key = client(folder, "elsewhere")
    with socket(gateway) as mine:
        assert say(mine, type="auth", token=key)["code"] == "address.refused"
        with pytest.raises(ConnectionClosed) as closed:
            hear(mine)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4403
