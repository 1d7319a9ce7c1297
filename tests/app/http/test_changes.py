"""Changes through `/manage`: on what was read, written down before they are made, and told as they happen."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tests.app.http.conftest import Place

from tongqu.app.http.face import Face
from tongqu.app.http.identity import AddClient
from tongqu.app.http.table import OPERATIONS
from tongqu.app.services.managed import Managed
from tongqu.app.wire import Wire
from tongqu.core.errors import AuditError
from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Request
from tongqu.gateway.publication import Publication
from tongqu.gateway.settings import GatewayEntry
from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Gateway


def test_a_change_rests_on_what_was_read(place: Place) -> None:
    made = place.ask("security_admin", "/clients", "POST", {"name": "erp", "roles": ["quality"]})
    assert (made.status, made.json["client_secret"][:4]) == (201, "tqs_")
    read = place.ask("security_admin", "/clients/erp")
    tag = read.headers["etag"]
    assert place.ask("security_admin", "/clients/erp", if_none_match=tag).status == 304
    change = {"roles": ["hr"]}
    blind = place.ask("security_admin", "/clients/erp", "PATCH", change)
    assert (blind.status, blind.json["code"]) == (428, "resource.unconditional")
    done = place.ask("security_admin", "/clients/erp", "PATCH", change, if_match=tag)
    assert (done.status, done.json["clients"][0]["roles"]) == (200, ["hr"])
    late = place.ask("security_admin", "/clients/erp", "PATCH", {"roles": ["quality"]}, if_match=tag)
    assert (late.status, late.json["code"], late.headers["etag"]) == (412, "resource.changed", done.headers["etag"])
    assert place.ask("security_admin", "/clients/erp").headers["etag"] == done.headers["etag"]
    assert place.ask("security_admin", "/clients/erp", "DELETE", if_match=done.headers["etag"]).status == 200
    assert place.ask("security_admin", "/clients/erp", "DELETE", if_match="*").status == 404


def test_every_change_is_in_the_trail_with_who_and_what(place: Place) -> None:
    place.ask("security_admin", "/clients", "POST", {"name": "plc", "certificate": "none", "roles": ["quality"]})
    place.ask("security_admin", "/clients/plc/disable", "POST", {}, if_match='"old"')
    records = place.ask("audit_admin", "/audit?kind=action&who=client:security_admin&limit=4").json["records"]
    assert [(one["what"], one["on"], one["outcome"]) for one in reversed(records)] == [
        ("client.add", "plc", "begun"), ("client.add", "plc", "config.invalid_plan"),
        ("client.disable", "plc", "begun"), ("client.disable", "plc", "config.unknown_name"),
    ]  # fmt: skip
    assert records[-1]["options"] == {"roles": ["quality"]}
    assert place.ask("audit_admin", "/audit/verdict").json["ok"]


class FullDisk:
    """A trail that cannot be written."""

    @contextmanager
    def action(self, *about: Any, **more: Any) -> Any:
        raise AuditError("the audit trail cannot be written: no space left")
        yield {}


def test_what_cannot_be_written_down_is_not_done(tmp_path: Path) -> None:
    wire = Wire(tmp_path, "", lambda *told, **more: None)
    managed = Managed(
        identity=cast(Any, None), trail=cast(Any, FullDisk()), token="", key=b"k", state=dict, entry=GatewayEntry,
        sums=dict,
    )  # fmt: skip
    request = Request("POST", "/manage/clients", "", {}, "127.0.0.1", "r", "t", 0.0, nothing, Publication("v", {}))
    request.actor = Actor("client:boss", roles=frozenset({"security_admin"}))
    face = Face(lambda: Wire(tmp_path, "", lambda *told, **more: None), managed)
    reply = asyncio.run(face.answer(OPERATIONS["client.add"], request, AddClient(name="mes")))
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["code"]) == (503, "run.audit")
    assert wire.callers().list() == {"clients": []}


async def nothing(limit: int) -> bytes:
    return b""


def test_a_run_is_started_and_followed_to_its_end(place: Place) -> None:
    assert place.ask("project_operator", "/runs", "POST", {"pipelines": ["none"]}).status == 404
    assert place.ask("project_operator", "/runs", "POST", {"pipelines": ["--help"]}).status == 404
    started = place.ask("project_operator", "/runs", "POST", {"pipelines": ["all"], "full": True})
    run = started.json["run"]
    assert (started.status, bool(run)) == (202, True)
    events = place.ask("project_viewer", f"/runs/{run}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    last = events.body.decode().strip().split("\n\n")[-1].split("\n")
    assert last[1] == "event: end"
    document = json.loads(last[2].removeprefix("data: "))
    assert (document["status"], document["read"]) == ("succeeded", 2)
    assert place.ask("project_viewer", f"/runs/{run}").json["written"] == 2
    again = place.ask("project_viewer", f"/runs/{run}/events", last_event_id=last[0].removeprefix("id: "))
    assert again.body.count(b"event: ") == 1
    assert place.ask("project_viewer", "/runs/none/events").status == 404
    assert place.ask("project_operator", f"/runs/{run}/cancel", "POST", {}, if_match="*").status == 404


def test_versions_have_one_head(place: Place) -> None:
    tag = place.ask("project_admin", "/versions/head").headers["etag"]
    made = place.ask("project_admin", "/versions", "POST", {"reason": "first"}, if_match=tag)
    assert (made.status, made.json["version"], made.json["actor"]) == (201, 1, "client:project_admin")
    late = place.ask("project_admin", "/versions", "POST", {"reason": "again"}, if_match=tag)
    assert (late.status, late.json["code"]) == (412, "resource.changed")
    stale = place.ask("project_admin", "/versions", "POST", {"parent": 0}, if_match="*")
    assert (stale.status, stale.json["code"]) == (409, "run.stale_version")
    assert place.ask("project_viewer", "/apis").json["apis"][0]["path"] == "/api/v1/inspections"


def test_the_gateway_itself(place: Place) -> None:
    assert place.ask("system_admin", "/limits").json["limits"]["address"]["requests"] == 6000
    assert place.ask("system_admin", "/health").json["ready"] is True
    assert "tongqu_in_flight" in place.ask("system_admin", "/metrics").json["metrics"]
    assert place.ask("system_admin", "/cache/purge", "POST", {}).json == {"purged": ["lake/inspection"]}
    assert place.ask("system_admin", "/cache/purge", "POST", {"api": "none"}).status == 404
    assert place.ask("project_viewer", "/webhooks").json == {"webhooks": []}
    assert place.ask("project_admin", "/profile?connection=lake&table=inspection").json["rows"] == 2


def test_administration_may_have_a_port_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("project: p\n", encoding="utf-8")
    with Gateway(tmp_path, "--manage-port", "0") as gateway:
        behind = gateway.told["manage"].removesuffix("/manage")
        assert behind != gateway.url
        assert gateway.ask("/manage/clients").json["code"] == "path.unknown"
        assert gateway.ask("/readyz").status == 200
        assert inside(tmp_path, "client", "add", "mes", "--json").code == 0
        gateway.url = behind
        assert gateway.ask("/manage/clients").json["code"] == "auth.missing"
        assert gateway.ask("/oauth/token", "POST", {}).json["code"] == "path.unknown"
        assert gateway.ask("//manage/../manage/clients").status in (400, 404)
        own = json.loads((gateway.home / "serve.json").read_text())
        records = gateway.ask("/manage/audit?kind=action", headers=[("tongqu-owner", own["token"])]).json["records"]
        assert [record["what"] for record in records] == ["client.add", "client.add"]
        assert all("request" in record for record in records if record["outcome"] == "begun")
