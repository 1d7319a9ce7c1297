"""Changes under good manufacturing practice: nothing is written without a reason and two signatures."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import environment, inside, make, query
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {mes: {type: sqlite, path: mes.db}}
apis:
  batches:
    source: {connection: mes, dataset: batches}
    access: {roles: [quality], write_roles: [release]}
    write: {insert: true, update: true, delete: true, gmp: true}
"""
PASSWORDS = {"zhang": "a long way to the river", "li": "seven mountains in snow", "wang": "tea before the meeting"}


def person(folder: Path, name: str, *roles: str) -> None:
    command = [sys.executable, "-m", "tongqu", "user", "add", name, "--keep-password", "--json"]
    command += [word for role in roles for word in ("--role", role)]
    subprocess.run(
        command, cwd=folder, env=environment(folder), input=PASSWORDS[name], capture_output=True, text=True, check=True
    )


def basic(name: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password or PASSWORDS[name]}".encode()).decode()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Gateway, list[tuple[str, str]]]]:
    folder = tmp_path_factory.mktemp("gmp")
    (folder / "tongqu.yaml").write_text(PROJECT)
    make(folder / "mes.db", "batches", "id INTEGER PRIMARY KEY, state TEXT", [(1, "open"), (2, "open")])
    person(folder, "zhang", "release")
    person(folder, "li", "release")
    person(folder, "wang", "quality")
    made = inside(
        folder, "client", "add", "mes", "--role", "quality", "--role", "release", "--key", "api-key", "--json"
    ).document
    with Gateway(folder) as gateway:
        yield folder, gateway, [("x-api-key", made["api_key"])]


def states(folder: Path) -> dict[int, str]:
    return dict(query(folder / "mes.db", "SELECT id, state FROM batches"))


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Tongqu-Reason": None}, "gmp.reason"),
        ({"Tongqu-Reason": "%20"}, "gmp.reason"),
        ({"Tongqu-Signature": None}, "gmp.signature"),
        ({"Tongqu-Signature": "Basic !"}, "gmp.signature"),
        ({"Tongqu-Signature": basic("zhang", "guessed")}, "gmp.signature"),
        ({"Tongqu-Approval": None}, "gmp.approval"),
        ({"Tongqu-Approval": basic("zhang")}, "gmp.approval"),
        ({"Tongqu-Approval": basic("wang")}, "gmp.approval"),
    ],
)
def test_what_is_not_signed_is_not_written(
    plant: tuple[Path, Gateway, list[tuple[str, str]]], headers: dict[str, str | None], code: str
) -> None:
    folder, gateway, key = plant
    given: dict[str, str | None] = {"Tongqu-Reason": "released", "Tongqu-Signature": basic("zhang"),
                                    "Tongqu-Approval": basic("li"), **headers}  # fmt: skip
    told = [(name, value) for name, value in given.items() if value is not None]
    before = states(folder)
    answer = gateway.ask("/api/v1/batches?id=eq.1", "PATCH", {"state": "released"}, [*key, *told])
    assert answer.json["code"] == code
    assert states(folder) == before


def test_a_signed_change_is_made_and_recorded_with_both_persons(
    plant: tuple[Path, Gateway, list[tuple[str, str]]],
) -> None:
    folder, gateway, key = plant
    signed = [("Tongqu-Reason", "%E5%90%88%E6%A0%BC"), ("Tongqu-Signature", basic("zhang")),
              ("Tongqu-Approval", basic("li"))]  # fmt: skip
    assert gateway.ask("/api/v1/batches?id=eq.2", "PATCH", {"state": "released"}, [*key, *signed]).status == 204
    assert states(folder)[2] == "released"
    records: list[dict[str, Any]] = inside(folder, "audit", "show", "--kind", "signed", "--json").document["records"]
    done, begun = records[:2]
    assert (begun["outcome"], done["outcome"], done["begun"]) == ("begun", "done", begun["line"][1])
    assert (done["who"], done["approver"], done["caller"]) == ("user:zhang", "user:li", "client:mes")
    assert (done["reason"], done["what"], done["api"], begun["of"]) == ("合格", "update", "batches", done["of"])
    assert not any(password in json.dumps(records) for password in PASSWORDS.values())
    assert inside(folder, "audit", "verify", "--json").document["ok"] is True


def approve(folder: Path, id: str, name: str, password: str = "") -> Any:
    command = [sys.executable, "-m", "tongqu", "api", "approve", id, "--as", name, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment(folder), input=password or PASSWORDS[name],
                          capture_output=True, text=True, check=False)  # fmt: skip
    return json.loads(done.stdout)


def test_a_change_waits_until_a_second_person_has_signed(
    plant: tuple[Path, Gateway, list[tuple[str, str]]],
) -> None:
    folder, gateway, key = plant
    signed = [*key, ("Tongqu-Reason", "later"), ("Tongqu-Signature", basic("zhang"))]
    path, change = "/api/v1/batches?id=eq.1", {"state": "blocked"}
    waits = gateway.ask(path, "PATCH", change, signed)
    id = waits.json["pending"]
    assert (waits.status, waits.json["code"], waits.headers["tongqu-pending"]) == (403, "gmp.approval", id)
    assert gateway.ask(path, "PATCH", change, signed).json["pending"] == id  # it waits once
    waiting = inside(folder, "api", "pending", "--json").document["pending"]
    [one] = [one for one in waiting if one["id"] == id]
    assert (one["who"], one["reason"], one["approver"]) == ("user:zhang", "later", "") and "blocked" in one["change"]
    held = [*signed, ("Tongqu-Approval", f"Pending {id}")]
    assert gateway.ask(path, "PATCH", change, held).json["code"] == "gmp.approval"  # nobody approved it yet
    assert approve(folder, id, "zhang")["problems"][0]["code"] == "config.invalid_plan"
    assert approve(folder, id, "li", "guessed")["ok"] is False
    assert approve(folder, id, "li")["pending"][0]["approver"] == "user:li"
    assert gateway.ask(path, "PATCH", {"state": "other"}, held).json["code"] == "gmp.approval"  # not this change
    assert gateway.ask("/api/v1/batches?id=eq.2", "PATCH", change, held).json["code"] == "gmp.approval"
    assert gateway.ask(path, "PATCH", change, held).status == 204
    assert states(folder)[1] == "blocked"
    assert gateway.ask(path, "PATCH", change, held).json["code"] == "gmp.approval"  # it served once
    newest = inside(folder, "audit", "show", "--kind", "signed", "--limit", "1", "--json").document["records"][0]
    assert (newest["who"], newest["approver"], newest["outcome"]) == ("user:zhang", "user:li", "done")


def test_who_may_not_make_a_change_cannot_approve_it(plant: tuple[Path, Gateway, list[tuple[str, str]]]) -> None:
    folder, gateway, key = plant
    signed = [*key, ("Tongqu-Reason", "later"), ("Tongqu-Signature", basic("zhang"))]
    id = gateway.ask("/api/v1/batches?id=eq.2", "PATCH", {"state": "x"}, signed).json["pending"]
    assert approve(folder, id, "wang")["pending"][0]["approver"] == "user:wang"
    held = [*signed, ("Tongqu-Approval", f"Pending {id}")]
    assert gateway.ask("/api/v1/batches?id=eq.2", "PATCH", {"state": "x"}, held).json["code"] == "gmp.approval"
    assert states(folder)[2] != "x"


def test_a_refused_change_is_recorded_as_refused(plant: tuple[Path, Gateway, list[tuple[str, str]]]) -> None:
    folder, gateway, key = plant
    signed = [("Tongqu-Reason", "twice"), ("Tongqu-Signature", basic("zhang")), ("Tongqu-Approval", basic("li"))]
    answer = gateway.ask("/api/v1/batches", "POST", {"id": 1, "state": "open"}, [*key, *signed])
    assert answer.json["code"] == "row.conflict"
    newest = inside(folder, "audit", "show", "--kind", "signed", "--limit", "1", "--json").document["records"][0]
    assert (newest["outcome"], newest["reason"]) == ("row.conflict", "twice")


def test_other_protocols_need_the_same(plant: tuple[Path, Gateway, list[tuple[str, str]]]) -> None:
    folder, gateway, key = plant
    schema = gateway.ask("/graphql", "POST", {"query": "{__schema{mutationType{fields{name args{name}}}}}"}, key).json
    names = [field["name"] for field in schema["data"]["__schema"]["mutationType"]["fields"]]
    delete = next(name for name in names if name.lower().startswith("delete"))
    text = f"mutation {{ {delete}(where: {{id: {{eq: 1}}}}) {{ __typename }} }}"
    answer = gateway.ask("/graphql", "POST", {"query": text}, key).json
    assert "gmp.reason" in json.dumps(answer), answer
    assert 1 in states(folder)
