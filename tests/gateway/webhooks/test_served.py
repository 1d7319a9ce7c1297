"""Webhooks through the public door: a served project, a receiver over HTTP, and the commands that manage them."""

from __future__ import annotations

from pathlib import Path

from standardwebhooks import Webhook

from tongqu.testing.command_line import inside, make, tongqu
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: lots.db}}
apis:
  lots:
    source: {connection: db, dataset: lots, key: [id]}
    access: {public: true, roles: [erp], write_roles: [anonymous]}
    write: {insert: true, update: true}
    webhooks:
      erp: {url: "%s/hook", as: erp, secret: "${secret:erp_hook}", filter: "weight=lt.5"}
"""


def test_a_change_is_delivered_signed_and_a_rotated_secret_signs_beside_the_one_before(tmp_path: Path) -> None:
    sent: list[Asked] = []

    def take(asked: Asked, out: Out) -> None:
        sent.append(asked)
        out.answer(204)

    make(tmp_path / "lots.db", "lots", "id INTEGER PRIMARY KEY, weight REAL", [(1, 1.0)])
    with HttpPeer({"/hook": take}) as receiver:
        (tmp_path / "tongqu.yaml").write_text(PROJECT % receiver.url, encoding="utf-8")
        assert inside(tmp_path, "secret", "init").code == 0
        first = inside(tmp_path, "webhook", "rotate", "erp", "--json").document["secret"]
        assert inside(tmp_path, "client", "add", "erp", "--role", "erp", "--key", "api-key", "--json").code == 0
        with Gateway(tmp_path) as gateway:
            assert gateway.ask("/api/v1/lots", "POST", {"id": 2, "weight": 2}).status == 201
            gateway.until(lambda _: len(sent) == 1)
            told = Webhook(first).verify(sent[0].body, dict(sent[0].headers))
            assert told["data"]["row"] == {"id": 2, "weight": 2.0}

            rotated = inside(tmp_path, "webhook", "rotate", "erp", "--overlap", "1h", "--json").document
            assert gateway.ask("/api/v1/lots?id=eq.2", "PATCH", {"weight": 3}).status == 204
            assert gateway.ask("/api/v1/lots?id=eq.1", "PATCH", {"weight": 9}).status == 204  # not in the filter
            gateway.until(lambda _: len(sent) == 2)
            for secret in (first, rotated["secret"]):
                Webhook(secret).verify(sent[1].body, dict(sent[1].headers))

            done = inside(tmp_path, "webhook", "test", "v1/lots/erp", "--json")
            assert (done.code, done.document["status"]) == (0, 204)
            assert b"webhook.test" in sent[2].body
            (listed,) = inside(tmp_path, "webhook", "list", "--json").document["webhooks"]
            assert (listed["state"], listed["done"], listed["dead"]) == ("on", 2, 0)
            assert inside(tmp_path, "webhook", "replay", "erp", "--state", "done").code == 0
            gateway.until(lambda _: len(sent) == 5)
            assert {asked.headers["webhook-id"] for asked in sent[3:]} == {
                asked.headers["webhook-id"] for asked in sent[:2]
            }
            shown = inside(tmp_path, "webhook", "show", "erp").out
            assert "msg_" in shown
            assert gateway.stop() == 0


def test_a_webhook_that_is_not_there_is_refused_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("project: plant\n", encoding="utf-8")
    done = tongqu(tmp_path, "webhook", "show", "nothing", "--json")
    assert (done.code, done.document["problems"][0]["code"]) == (2, "config.unknown_name")
