"""Who may what: every route of `/manage` with every role, and nothing else is let in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.app.http.conftest import Place

from tongqu.app.http.application import OWN
from tongqu.app.http.rights import EVERY, ROLES, rights_of
from tongqu.app.http.table import OPERATIONS

NEEDED = {"client": "anonymous", "field": "lot", "connection": "lake"}
"""Parameters without which a question is none."""


def address(path: str) -> str:
    """The address of an operation about something that is not there."""
    return re.sub(r"\{(\w+)\}", lambda found: "7" if found[1] == "number" else "nothing", path)


@pytest.mark.parametrize("role", [*ROLES, "quality", ""])
def test_every_route_lets_in_whom_the_table_says(place: Place, role: str) -> None:
    rights = rights_of([role])
    for operation in OPERATIONS.values():
        fields = operation.given.model_fields
        asked = "&".join(f"{name}={NEEDED[name]}" for name in NEEDED if name in fields and not operation.changes)
        path = address(operation.path) + (f"?{asked}" if asked else "")
        answer = place.ask(role, path, operation.method, {} if operation.changes else None)
        if operation.right in rights:
            assert answer.status not in (401, 403, 405, 500), (operation.name, answer.body)
        else:
            assert answer.status == (403 if role else 401), (operation.name, answer.body)
            assert answer.json["code"] == ("access.denied" if role else "auth.missing")


def test_the_duties_of_administrators_share_no_right_but_looking() -> None:
    system, security, audit = (ROLES[f"{duty}_admin"] for duty in ("system", "security", "audit"))
    assert system & security == frozenset({"look"})
    assert not audit & (system | security)
    assert {operation.right for operation in OPERATIONS.values()} <= EVERY


def test_the_document_describes_every_operation_and_nothing_more(place: Place) -> None:
    document = place.ask("project_viewer", "/openapi.json").json
    found = {one["operationId"] for methods in document["paths"].values() for one in methods.values()}
    assert found == set(OPERATIONS) | set(OWN) - {"openapi"}
    assert document["openapi"].startswith("3.1")
    assert place.ask("", "/openapi.json").status == 401
    assert place.ask("quality", "/openapi.json").status == 403


@pytest.mark.parametrize(
    ("role", "code"), [("many", "auth.duties"), ("narrow", "auth.scope"), ("quality", "access.denied")]
)
def test_whom_nothing_is_shown(place: Place, role: str, code: str) -> None:
    answer = place.ask(role, "/runs")
    assert (answer.status, answer.json["code"]) == (403, code)


def test_a_refusal_comes_before_anything_is_read(place: Place) -> None:
    answer = place.gateway.ask("/manage/clients", "POST", b"{no json", [("authorization", "Bearer x.y.z")])
    assert (answer.status, answer.json["code"]) == (401, "auth.invalid")
    assert place.ask("audit_admin", "/clients", "POST", {"role": 1}).status == 403
    wrong = place.ask("security_admin", "/clients", "POST", {"name": "x", "role": ["admin"]})
    assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/role")
    assert place.gateway.ask("/manage/clients", headers=[("tongqu-owner", "guessed")]).status == 401


def test_what_is_not_there(place: Place) -> None:
    for path in ("/nothing", "", "/clients/x/y/z", "/docs", "/redoc"):
        answer = place.ask("security_admin", path)
        assert (answer.status, answer.json["code"]) == (404, "path.unknown")
    refused = place.ask("security_admin", "/access/expiring", "DELETE")
    assert (refused.status, refused.json["code"]) == (405, "method.refused")


def test_nobody_gives_themselves_more(place: Place) -> None:
    more: dict[str, Any] = {"roles": ["security_admin", "audit_admin"]}
    refused = place.ask("security_admin", "/clients/security_admin", "PATCH", more, if_match="*")
    assert (refused.status, refused.json["code"]) == (403, "access")
    both = place.ask("security_admin", "/clients/quality", "PATCH", more, if_match="*")
    assert (both.status, both.json["code"]) == (422, "config.invalid_plan")


def test_no_address_is_taken_from_a_caller(place: Place) -> None:
    for path in (
        "/quarantine?where=sqlite:/etc/passwd",
        "/check?connections=file:/etc/passwd",
        "/profile?connection=http://x",
    ):
        assert place.ask("project_admin", path).status in (404, 422)
    rule = {"rules": ["map lot file:../../etc/passwd"]}
    refused = place.ask("project_admin", "/quarantine/fixes", "POST", rule)
    assert (refused.status, "not in the project" in refused.json["detail"]) == (422, True)


def test_secrets_go_in_and_never_out(place: Place) -> None:
    made = place.ask("security_admin", "/secrets/mes", "PUT", {"value": "hunter2-of-the-plant"}, if_match="*")
    assert made.status == 200
    for operation in OPERATIONS.values():
        if not operation.changes and operation.right in ("security", "audit", "system", "look"):
            role = next(role for role, rights in ROLES.items() if operation.right in rights)
            assert b"hunter2" not in place.ask(role, address(operation.path)).body
    assert place.ask("security_admin", "/secrets/mes").status == 405
