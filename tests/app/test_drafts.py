"""Drafts of APIs: seen by their reviewers only, commented, approved by somebody else, and published in one step."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.services.identity import Callers, NewClient
from tongqu.app.services.people import NewUser, People
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import Done, inside, make
from tongqu.testing.services.gateway import Answered, Gateway

PASSWORD = "correct horse battery staple"
PROJECT = """\
project: plant
connections:
  lake: {type: sqlite, path: lake.db}
datasets:
  lot: {key: [lot], fields: {lot: {type: string}, qty: {type: int64}, inspector: {type: string, class: personal}}}
apis:
  lots:  # what everybody calls
    source: {connection: lake, dataset: lot}
    fields: [lot, qty]
    access: {roles: [plant]}
    write: {insert: true}
  lots_next:
    name: lots
    source: {connection: lake, dataset: lot}
    fields: [lot, qty, inspector]
    access: {roles: [plant], write_roles: [plant], fields: {inspector: {roles: [plant]}}}
    write: {insert: true}
    draft: {reviewers: ["user:anna", "role:review"]}
  lots_v2:
    name: lots
    version: v2
    source: {connection: lake, dataset: lot}
    access: {roles: [plant]}
    draft: {reviewers: ["user:anna"], approvals: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with an API, a draft of what it is to become, and a draft of its next version."""
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    make(tmp_path / "lake.db", "lot", "lot TEXT PRIMARY KEY, qty INTEGER, inspector TEXT", [("L1", 5, "王芳")])
    callers = Callers(Home(tmp_path / "home"), Scrubber(), IdentitySettings)
    people = People(callers)
    people.add(NewUser("anna", ("plant",), keep_password=True), lambda: PASSWORD)
    people.add(NewUser("boris", ("plant",), keep_password=True), lambda: PASSWORD)
    callers.add(NewClient("mes", ("plant",)))
    callers.add(NewClient("probe", ("plant", "review")))
    assert inside(tmp_path, "apply", "--json").code == 0
    return tmp_path


def call(folder: Path, *arguments: str, **environ: str) -> Done:
    return inside(folder, *arguments, "--json", **environ)


def signed(folder: Path, monkeypatch: pytest.MonkeyPatch, who: str, *arguments: str) -> Done:
    """A command that somebody signs with their password."""
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    return call(folder, *arguments, "--as", who)


def problem(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = done.document["problems"][0]
    return found


def test_a_draft_is_read_by_its_reviewers_and_by_others_with_made_up_rows(folder: Path) -> None:
    token = {name: call(folder, "token", "issue", name).document["access_token"] for name in ("mes", "probe")}
    with Gateway(folder, files=False) as gateway:

        def ask(who: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answered:
            own = [("authorization", f"Bearer {token[who]}")] if who else []
            return gateway.ask(path, method, body, [*own, *headers.items()])

        assert ask("mes", "/api/v1/lots").json == [{"lot": "L1", "qty": 5}]
        assert ask("probe", "/api/v1-draft/lots").json == [{"lot": "L1", "qty": 5, "inspector": "王芳"}]
        for path in ("/api/v1-draft/lots", "/api/v2-draft/lots", "/openapi/v1-draft.json", "/live/v1-draft/lots"):
            hidden, nothing = ask("mes", path), ask("mes", path.replace("draft", "nothing"))
            assert (hidden.status, hidden.json["code"]) == (404, nothing.json["code"]), path
        query = {"query": "{ __typename }"}
        hidden, nothing = (ask("mes", f"/graphql/{word}", "POST", query) for word in ("v1-draft", "v1-nothing"))
        assert hidden.status == nothing.status
        assert [one["message"] for one in hidden.json["errors"]] == [one["message"] for one in nothing.json["errors"]]
        assert ask("", "/api/v1-draft/lots").status == 401
        assert [one["version"] for one in ask("mes", "/openapi").json["versions"]] == ["v1"]
        assert ask("probe", "/openapi/v1-draft.json").status == 200

        made_up = ask("mes", "/api/v1-draft/lots", prefer="mock")
        assert made_up.status == 200
        assert set(made_up.json[0]) == {"lot", "qty", "inspector"}
        row = {"lot": "L9", "qty": 1}
        refused = ask("probe", "/api/v1-draft/lots", "POST", row)
        assert (refused.status, refused.json["code"]) == (403, "access.denied")
        assert ask("probe", "/api/v1-draft/lots", "POST", row, prefer="mock").status == 201
        newest = ask("mes", "/graphql", "POST", {"query": "{ lots { nodes { lot qty } } }"})
        assert newest.json["data"]["lots"]["nodes"] == [{"lot": "L1", "qty": 5}]


def test_a_draft_is_commented_approved_and_published_in_one_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    (listed,) = (one for one in call(folder, "draft", "list").document["drafts"] if one["draft"] == "lots_next")
    assert (listed["path"], listed["becomes"], listed["replaces"], listed["state"]) == (
        "/api/v1-draft/lots", "/api/v1/lots", "lots", "open"
    )  # fmt: skip
    changed = {one["at"]: one["after"] for one in call(folder, "draft", "show", "lots_next").document["changes"]}
    assert changed["fields"] == ["lot", "qty", "inspector"]
    assert "access.fields.inspector.roles" in changed

    said = call(folder, "draft", "comment", "lots_next", "who needs this?", "--on", "fields.inspector").document
    assert [(one["on"], one["text"], one["who"].split(":")[0]) for one in said["comments"]] == [
        ("fields.inspector", "who needs this?", "operator")
    ]  # fmt: skip
    assert problem(call(folder, "draft", "comment", "lots_next", "x", "--on", "fields.none"))["code"] == (
        "config.unknown_name"
    )
    assert call(folder, "draft", "resolve", "lots_next", "1").document["open_comments"] == 0
    assert call(folder, "draft", "resolve", "lots_next", "1").code == 2

    early = call(folder, "draft", "publish", "lots_next")
    assert (early.code, "1 more approval" in problem(early)["message"]) == (2, True)
    assert problem(call(folder, "draft", "approve", "lots_next"))["code"] == "access"  # no reviewer
    assert problem(signed(folder, monkeypatch, "boris", "draft", "approve", "lots_next"))["code"] == "access"
    assert signed(folder, monkeypatch, "anna", "draft", "reject", "lots_next", "--reason", "why?").document[
        "state"
    ] == ("rejected")
    assert "rejected" in problem(call(folder, "draft", "publish", "lots_next"))["message"]
    assert signed(folder, monkeypatch, "anna", "draft", "approve", "lots_next").document["state"] == "approved"

    done = call(folder, "draft", "publish", "lots_next", "--reason", "QA wants names").document
    assert (done["state"], done["kind"], done["path"]) == ("applied", "draft", "/api/v1/lots")
    version = call(folder, "versions", "show", str(done["version"])).document
    assert sorted(version["shared"]["apis"]) == ["lots", "lots_v2"]
    assert version["shared"]["apis"]["lots"]["fields"] == ["lot", "qty", "inspector"]
    assert call(folder, "pull").document["files"] == ["tongqu.yaml"]
    assert "# what everybody calls" in (folder / "tongqu.yaml").read_text(encoding="utf-8")
    assert call(folder, "plan").document["changes"] == []


def test_an_approval_is_of_the_draft_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed(folder, monkeypatch, "anna", "draft", "approve", "lots_next").document["state"] == "approved"
    file = folder / "tongqu.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[plant], write", "[plant, guests], write"), encoding="utf-8")
    assert call(folder, "apply").code == 0
    (now,) = (one for one in call(folder, "draft", "list").document["drafts"] if one["draft"] == "lots_next")
    assert (now["state"], now["approvals"]) == ("open", [])


def test_an_approval_is_by_those_who_review_it_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody was named who may change the project judges, and no longer once somebody is; a viewer never does."""
    callers = Callers(Home(folder / "home"), Scrubber(), IdentitySettings)
    People(callers).add(NewUser("vera", ("project_viewer",), keep_password=True), lambda: PASSWORD)
    file = folder / "tongqu.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('{reviewers: ["user:anna", "role:review"]}', "{}"), encoding="utf-8")
    assert call(folder, "apply").code == 0
    callers.add(NewClient("viewer", ("project_viewer",)))
    token = call(folder, "token", "issue", "viewer").document["access_token"]
    with Gateway(folder, files=False) as gateway:
        held = [("authorization", f"Bearer {token}")]
        shown = gateway.ask("/manage/drafts/lots_next", "GET", None, held)
        tagged = [*held, ("if-match", shown.headers["etag"])]
        told = gateway.ask("/manage/drafts/lots_next/approve", "POST", {}, tagged)
        assert (shown.status, told.status, b"may not change" in told.body) == (200, 403, True)
    assert problem(signed(folder, monkeypatch, "vera", "draft", "reject", "lots_next"))["code"] == "access"
    assert call(folder, "draft", "approve", "lots_next").document["state"] == "approved"
    file.write_text(text, encoding="utf-8")
    assert call(folder, "apply").code == 0
    assert call(folder, "draft", "publish", "lots_next").code == 2
    assert signed(folder, monkeypatch, "anna", "draft", "reject", "lots_next").document["state"] == "rejected"
    file.write_text(text.replace('["user:anna", "role:review"]', '["user:boris"]'), encoding="utf-8")
    assert call(folder, "apply").code == 0
    assert signed(folder, monkeypatch, "boris", "draft", "approve", "lots_next").document["state"] == "rejected"


def test_where_duties_are_kept_apart_its_author_is_not_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    file = folder / "tongqu.yaml"
    text = file.read_text(encoding="utf-8").replace("  lots_next:", "  lots_other:")
    file.write_text(text + "identity: {separate_duties: true}\n", encoding="utf-8")
    assert call(folder, "apply", TONGQU_ACTOR="anna").code == 0
    refused = problem(signed(folder, monkeypatch, "anna", "draft", "approve", "lots_other"))
    assert (refused["code"], "somebody else" in refused["message"]) == ("access", True)
