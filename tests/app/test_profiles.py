"""Profiles on the command line: listed, shown, mocked, checked in a project, and documented."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.docs import project_schema
from tongqu.app.vendor_page import pages
from tongqu.kit.profiles.profile import names
from tongqu.testing.command_line import inside, start


def checked(folder: Path, **connection: Any) -> list[dict[str, Any]]:
    """The problems of a project with one connection; nothing is contacted where there is one."""
    (folder / "tongqu.yaml").write_text(
        json.dumps({"project": "p", "connections": {"dt": {"type": "rest", **connection}}})
    )
    problems: list[dict[str, Any]] = inside(folder, "check", "--json").document["problems"]
    return problems


def test_profiles_are_listed_with_their_labels(tmp_path: Path) -> None:
    found = inside(tmp_path, "connectors", "--json").document["profiles"]
    assert [one["name"] for one in found] == names()
    assert {one["label"] for one in found} == {"tested against mock", "starter, tested against mock"}
    assert "dingtalk" in inside(tmp_path, "connectors", "--lang", "zh").out


def test_a_profile_is_shown(tmp_path: Path) -> None:
    found = inside(tmp_path, "connectors", "show", "dingtalk", "--json").document
    assert [one["name"] for one in found["settings"] if one["needed"]] == ["app_key", "app_secret"]
    mobile = next(one for one in found["fields"]["users"] if one["name"] == "mobile")
    assert (mobile["class"], mobile["type"]) == ("personal", "string")
    assert "left out:" in inside(tmp_path, "connectors", "show", "dingtalk").out


def test_a_mock_runs_until_it_is_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, "mock", "qms")
    assert process.stdout is not None
    assert process.stdout.readline() == "connections:\n"
    connection = process.stdout.readline()
    (tmp_path / "tongqu.yaml").write_text(f"project: p\nconnections:\n{connection}")
    done = inside(tmp_path, "sync", "qms", "sqlite:out.db", "--table", "inspection_results", "--json")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert [one["read"] for one in done.document["streams"]] == [3], done.err
    assert (process.returncode, "stopped after 2 calls" in errors) == (0, True), errors


def test_a_mock_of_nothing_is_refused(tmp_path: Path) -> None:
    done = inside(tmp_path, "mock", "nothing", "--json")
    assert (done.code, done.document["problems"][0]["code"]) == (2, "config.invalid_settings")


@pytest.mark.parametrize(
    ("connection", "path", "message"),
    [
        ({"profile": "dingtlak"}, "connections.dt.profile", "there is no profile"),
        ({"profile": "dingtalk", "app_key": "k"}, "connections.dt.app_secret", "needs 'app_secret'"),
        (
            {"profile": "dingtalk", "app_key": "k", "app_secret": "${env:S}", "app_kye": "k"},
            "connections.dt.app_kye",
            "unknown key",
        ),
        ({"profile": "none.yaml"}, "connections.dt.profile", "there is no profile file"),
    ],
)
def test_what_is_wrong_in_a_project_is_named(tmp_path: Path, connection: Any, path: str, message: str) -> None:
    problems = [one for one in checked(tmp_path, **connection) if one.get("level") != "warning"]
    assert [(one["path"].rpartition(":")[2], message in one["message"]) for one in problems] == [(path, True)]


def test_a_secret_in_the_file_is_warned_of(tmp_path: Path) -> None:
    problems = checked(
        tmp_path, profile="dingtalk", app_key="k", app_secret="plain-text", base_url="http://127.0.0.1:9"
    )
    assert "connections.dt.app_secret" in [
        one["path"].rpartition(":")[2] for one in problems if one["code"] == "project.literal_secret"
    ]
    assert "plain-text" not in json.dumps(problems)


def test_editors_know_the_settings_of_each_profile() -> None:
    definitions = project_schema()["$defs"]
    found = definitions["connection_rest_dingtalk"]
    assert found["properties"]["profile"] == {"const": "dingtalk", "description": "DingTalk (internal app)"}
    assert "app_secret" in found["required"]
    assert {"$ref": "#/$defs/connection_rest_dingtalk"} in definitions["connection"]["oneOf"]


def test_every_profile_has_a_page() -> None:
    found = pages()
    assert set(found) == {"profiles.md", *(f"profiles/{name}.md" for name in names())}
    assert 'app_secret: "${secret:dingtalk}"' in found["profiles/dingtalk.md"]
    assert "| `mobile` | string | 手机号 | Mobile | personal | – |" in found["profiles/dingtalk.md"]
