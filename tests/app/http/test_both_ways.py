"""The command line gives the same documents whether it does something itself or a running gateway does it for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.app.http.conftest import PROJECT, Place

from tongqu.testing.command_line import Done, inside, make
from tongqu.testing.services.gateway import Gateway

Test = Callable[[Path], None]


def suite(name: str) -> ModuleType:
    """A module of the command line's own tests."""
    spec = spec_from_file_location(f"both_ways_{name}", Path(__file__).parents[1] / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


identity, policy, quarantine, versions = map(
    suite, ("test_identity", "test_policy", "test_quarantine", "test_versions")
)
policy_folder, quarantine_folder, versions_folder = policy.project, quarantine.folder, versions.folder
AGAIN: list[tuple[str, Test]] = [
    ("tmp_path", identity.test_a_client_gets_a_key_and_a_token),
    ("tmp_path", identity.test_keys_of_every_kind),
    ("tmp_path", identity.test_what_is_refused),
    ("tmp_path", identity.test_signing_keys_change_on_demand),
    ("policy_folder", policy.test_explain_says_what_is_seen_and_why),
    ("versions_folder", versions.test_apply_makes_versions_with_who_and_why_and_the_impact),
    ("quarantine_folder", quarantine.test_rows_are_mended_and_go_in_again),
    ("quarantine_folder", quarantine.test_ids_and_rules_that_are_none),
]


def asked(gateway: Gateway) -> set[str]:
    """What the command line asked the gateway to do."""
    own = json.loads((gateway.home / "serve.json").read_text())
    records = gateway.ask("/manage/audit?kind=call&limit=1000", headers=[("tongqu-owner", own["token"])]).json[
        "records"
    ]
    return {record["what"] for record in records if record["who"].startswith("operator:")}


@pytest.mark.parametrize(("place", "test"), AGAIN, ids=[test.__name__ for _, test in AGAIN])
def test_the_tests_of_the_command_line_hold_with_a_gateway(
    request: pytest.FixtureRequest, place: str, test: Test
) -> None:
    folder: Path = request.getfixturevalue(place)
    if not (folder / "tongqu.yaml").exists():
        (folder / "tongqu.yaml").write_text("project: p\n", encoding="utf-8")
    with Gateway(folder) as gateway:
        test(folder)
        gateway.until(lambda _: asked(gateway))


COMMANDS = (
    "client add mes --role quality --attribute plant=3",
    "client list",
    "client add mes",
    "client add plc --key password",
    "client rotate mes --overlap 2d",
    "client change mes --role hr",
    "client revoke mes --key-id none",
    "client disable mes",
    "client enable nobody",
    "client remove mes",
    "token issue nobody",
    "token keys",
    "token keys --rotate",
    "apply --reason first",
    "apply --parent 7",
    "api list",
    "api show inspections",
    "api show none",
    "policy explain --as anonymous inspections",
    "policy test",
    "runs list",
    "runs show none",
    "runs logs none",
    "quarantine list",
    "quarantine show none",
    "quarantine replay",
    "audit show --since soon",
    "api calls inspections",
    "api usage inspections",
)
PASSING = {"created", "changed", "at", "used", "client_secret", "key_id", "id", "kid", "signs_from", "ends", "expires",
           "state", "url", "config", "stale"}  # fmt: skip
"""What is never the same twice, and what tells of the running gateway."""


def lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: lasting(inner) if key not in PASSING else type(inner).__name__ for key, inner in value.items()}
    return [lasting(inner) for inner in value] if isinstance(value, list) else value


def project(folder: Path) -> Path:
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    make(folder / "lake.db", "inspection", "lot TEXT PRIMARY KEY, qty INTEGER, inspector TEXT", [("L1", 1, "王芳")])
    return folder


def said(folder: Path, command: str) -> tuple[int, Any]:
    done: Done = inside(folder, *command.split(), "--json")
    return done.code, lasting(done.document)


def test_documents_and_exit_codes_are_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    alone, served = (project(tmp_path_factory.mktemp(name)) for name in ("alone", "served"))
    with Gateway(served) as gateway:
        for command in COMMANDS:
            assert said(served, command) == said(alone, command), command
        wanted = {"client.add", "client.change", "token.rotate", "apply", "api.list", "policy.test", "runs.list"}
        gateway.until(lambda _: wanted <= asked(gateway))
    managed = [
        [(r["who"], r["what"], r["on"], r["outcome"], r.get("options")) for r in records]
        for records in (
            inside(folder, "audit", "show", "--kind", "action", "--limit", "100", "--json").document["records"]
            for folder in (alone, served)
        )
    ]
    first, second = (
        [one for one in records if one[1].startswith("client.") and one[3] == "done"] for records in managed
    )
    assert [one[:4] for one in first] == [one[:4] for one in second]


def test_a_server_is_named(place: Place, tmp_path: Path) -> None:
    server = ("--server", place.gateway.url, "--json")
    token = {"TONGQU_TOKEN": place.tokens["security_admin"]}
    assert (
        inside(tmp_path, "client", "add", "far", "--role", "quality", *server, **token).document["client_id"] == "far"
    )
    assert "far" in {one["client_id"] for one in place.callers.list()["clients"]}
    unknown = inside(tmp_path, "client", "rotate", "nobody", *server, **token)
    assert (unknown.code, unknown.document["problems"][0]["code"]) == (2, "config.unknown_name")
    denied = inside(tmp_path, "audit", "show", *server, **token)
    assert (denied.code, denied.document["problems"][0]["code"]) == (1, "access.denied")
    for wrong in (
        inside(tmp_path, "client", "list", *server),
        inside(tmp_path, "client", "list", "--server", "http://plant.example", "--json", **token),
        inside(tmp_path, "plan", *server, **token),
        inside(tmp_path, "client", "add", "x", "--key", "password", *server, **token),
    ):
        assert (wrong.code, wrong.document["ok"]) == (2, False)
    bad = inside(tmp_path, "client", "list", *server, TONGQU_TOKEN="guessed")
    assert (bad.code, bad.document["problems"][0]["code"]) == (1, "auth.invalid")
    other = inside(tmp_path, "client", "list", *server, "--env", "prod", **token)
    assert (other.code, other.document["problems"][0]["code"]) == (1, "connector.connect")
    assert not (tmp_path / "home").exists()


def test_a_gateway_that_lets_nobody_manage_is_gone_around(tmp_path: Path) -> None:
    project(tmp_path)
    with (tmp_path / "tongqu.yaml").open("a", encoding="utf-8") as file:
        file.write("gateway: {admin: {allow: [10.9.8.0/24]}}\n")
    with Gateway(tmp_path, "--plain") as gateway:
        assert gateway.ask("/manage/clients").status == 404
        assert inside(tmp_path, "client", "add", "mes", "--json").code == 0
        assert inside(tmp_path, "client", "list", "--json").document["clients"][0]["client_id"] == "mes"


def test_another_environment_or_folder_is_not_its(tmp_path: Path) -> None:
    first = tmp_path / "first"
    second = tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        project(folder)
    with Gateway(first) as gateway:
        done = inside(second, "client", "add", "mes", "--json", TONGQU_HOME=str(gateway.home))
        assert done.code == 0
        assert asked(gateway) <= {"audit.show"}
