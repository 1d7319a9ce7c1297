"""Callers are told of new versions, changes and ends of the APIs they read: by a feed, webhooks and mail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tongqu.app.services.identity import Callers, NewClient
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.gateway.news.courier import sender_of
from tongqu.gateway.news.handler import secret_of
from tongqu.gateway.webhooks.sending import Delivery
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import Done, inside, make
from tongqu.testing.services.gateway import Answered, Gateway
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out
from tongqu.testing.services.mail_catcher import MailCatcher

PROJECT = """\
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
  post: {type: smtp, host: 127.0.0.1, port: PORT, security: none, sender: api@example.com, allow: ["*@example.com"]}
datasets:
  lot: {key: [lot], fields: {lot: {type: string}, qty: {type: int64}, wage: {type: int64, class: personal}}}
gateway: {news: {allow: [127.0.0.0/8], mail: post}}
apis:
  lots:
    source: {connection: lake, dataset: lot}
    access: {roles: [plant], fields: {wage: {roles: [hr]}}}
  pay:
    source: {connection: lake, dataset: lot}
    access: {roles: [hr]}
"""
NEXT = """
  lots_v2:
    name: lots
    version: v2
    source: {connection: lake, dataset: lot}
    access: {roles: [plant]}
"""
"""What the second applied version adds."""
ENDS = 'version: v1\n    deprecated: "2026-01-01"\n    sunset: "2099-01-01"\n    successor: v2\n    source:'


class Receiver(HttpPeer):
    """Keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__({"/hook": self._take})
        self.sent: list[Asked] = []

    def _take(self, asked: Asked, out: Out) -> None:
        self.sent.append(asked)
        out.answer(204)


def until(true: Callable[[], bool]) -> None:
    """Wait until it is true, however slow the machine is."""
    event, deadline = threading.Event(), time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        event.wait(0.05)


@pytest.fixture
def post() -> Iterator[MailCatcher]:
    with MailCatcher() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, post: MailCatcher) -> Path:
    """A project whose first version is applied, with a client of the plant and one of the personnel office."""
    (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("PORT", str(post.port)), encoding="utf-8")
    make(tmp_path / "lake.db", "lot", "lot TEXT PRIMARY KEY, qty INTEGER, wage INTEGER", [("L1", 5, 100)])
    callers = Callers(Home(tmp_path / "home"), Scrubber(), IdentitySettings)
    callers.add(NewClient("mes", ("plant",)))
    callers.add(NewClient("pers", ("plant", "hr")))
    assert call(tmp_path, "apply").code == 0
    return tmp_path


def call(folder: Path, *arguments: str) -> Done:
    return inside(folder, *arguments, "--json")


def second_version(folder: Path) -> None:
    """A new version beside the old one, which ends; and the wage may be seen by others."""
    file = folder / "tongqu.yaml"
    text = file.read_text(encoding="utf-8").replace("  lots:\n    source:", f"  lots:\n    {ENDS}", 1) + NEXT
    text = text.replace("wage: {type: int64", "wage: {type: int64, max: 9")
    file.write_text(text, encoding="utf-8")
    assert call(folder, "apply", "--accept-breaking").code == 0


def test_callers_are_told_what_they_may_know_and_nothing_else(folder: Path, post: MailCatcher) -> None:
    token = {name: call(folder, "token", "issue", name).document["access_token"] for name in ("mes", "pers")}
    with ExitStack() as opened:
        gateway = opened.enter_context(Gateway(folder, files=False))
        hook = opened.enter_context(Receiver())

        def ask(who: str, path: str, method: str = "GET", body: Any = None, **more: str) -> Answered:
            own = [("authorization", f"Bearer {token[who]}")] if who else []
            return gateway.ask(path, method, body, [*own, *more.items()])

        def kinds(who: str) -> list[tuple[str, str]]:
            told = [one["_tongqu"] for one in ask(who, "/news").json["items"]]
            return [(one["path"], one["type"]) for one in reversed(told)]

        until(lambda: kinds("mes") == [("/api/v1/lots", "version.published")])
        assert kinds("pers") == [("/api/v1/lots", "version.published"), ("/api/v1/pay", "version.published")]
        assert kinds("") == []

        body = {"api": "lots", "webhook": f"{hook.url}/hook"}
        assert ask("", "/news/subscriptions", "POST", body).status == 401
        made = ask("mes", "/news/subscriptions", "POST", body)
        assert made.status == 201
        assert ask("mes", "/news/subscriptions", "POST", body).json["id"] == made.json["id"]
        assert ask("mes", "/news/subscriptions", "POST", {**body, "api": "pay"}).json["code"] == "api.unknown"
        wrong = ask("mes", "/news/subscriptions", "POST", {"webhook": "file:///etc/passwd"})
        assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/webhook")
        assert ask("mes", "/news/subscriptions", "POST", {"mail": "a@example.com"}).status == 201
        other = ask("pers", f"/news/subscriptions/{made.json['id']}", "DELETE")
        assert (other.status, other.json["code"]) == (404, "subscription.unknown")

        second_version(folder)
        until(lambda: len(hook.sent) >= 2)
        told = list(hook.sent)
        events = {}
        for delivery in told:
            Webhook(made.json["secret"]).verify(delivery.body, dict(delivery.headers))
            document = json.loads(delivery.body)
            events[document["data"]["path"], document["type"]] = document["data"]
        assert set(events) == {("/api/v1/lots", "version.sunset"), ("/api/v2/lots", "version.published")}
        assert events["/api/v1/lots", "version.sunset"]["successor"] == "v2"
        assert b"wage" not in b"".join(delivery.body for delivery in told)

        until(lambda: len(post.mails) >= 2)
        assert {message["To"] for _, message in post.mails} == {"a@example.com"}
        assert "wage" not in json.dumps(ask("mes", "/news").json)
        assert "wage" in json.dumps(ask("pers", "/news?api=lots").json)  # it sees that field
        atom = ask("mes", "/news", accept="application/atom+xml")
        assert atom.body.startswith(b'<?xml version="1.0"')
        again = ask("mes", "/news", **{"if-none-match": ask("mes", "/news").headers["etag"]})
        assert again.status == 304
        assert ask("mes", f"/news/subscriptions/{made.json['id']}", "DELETE").status == 204


def test_the_owner_sees_news_and_subscribers_and_subscribes_for_others(folder: Path) -> None:
    second_version(folder)
    told = call(folder, "api", "news").document["news"]
    assert [one["type"] for one in told[::-1]][:2] == ["version.published", "version.published"]
    assert {one["type"] for one in told} >= {"version.sunset", "version.changed"}
    made = call(folder, "api", "subscribe", "mes", "--webhook", "https://mes.example/news").document["subscribers"][0]
    assert made["secret"].startswith("whsec_")
    (listed,) = call(folder, "api", "subscribers").document["subscribers"]
    assert (listed["who"], listed["api"], "secret" in listed) == ("client:mes", "*", False)
    assert call(folder, "api", "subscribe", "nobody", "--mail", "a@example.com").code == 2
    assert call(folder, "api", "unsubscribe", made["id"]).code == 0
    assert call(folder, "api", "unsubscribe", made["id"]).code == 2


def test_an_address_that_a_caller_names_leads_to_no_private_network() -> None:
    """Nobody vouches for it: only what the operator allows beside public addresses is called."""
    delivery = Delivery("sub_1", b"{}", [secret_of(b"key", "sub_1")], time.time())
    with Receiver() as inside_network:
        url = f"{inside_network.url}/hook"
        for allow, verdict in (((), "again"), (("10.0.0.0/8",), "again"), (("127.0.0.0/8",), "taken")):
            sender = sender_of(url, allow)
            assert sender.send(delivery).verdict == verdict
            sender.close()
        assert len(inside_network.sent) == 1
