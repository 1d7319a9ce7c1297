"""`tongqu demo --serve` ends with APIs that a person can call from the lines it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tongqu.testing.command_line import start


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the demo printed once it served."""
    folder = tmp_path_factory.mktemp("demo")
    process = start(folder, "demo", "--serve", "--port", "0", "--dir", "factory", "--json")
    text = ""
    assert process.stdout is not None
    while line := process.stdout.readline():
        text += line
        if line.rstrip("\n") == "}":
            break
    try:
        yield json.loads(text)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def run(told: dict[str, Any], shows: str) -> str:
    """The output of the printed line that shows this, run as it is by a shell."""
    [line] = [call["command"] for call in told["serve"]["calls"] if shows in call["shows"]]
    environ = {**os.environ, "TOKEN": told["serve"]["token"]}
    return subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, check=True).stdout


def test_the_story_is_told_before_it_serves(told: dict[str, Any]) -> None:
    assert told["status"] == "attention"
    assert [act["act"] for act in told["acts"]][-1] == "versions"


def test_rest(told: dict[str, Any]) -> None:
    assert len(json.loads(run(told, "open to everybody"))) == 6
    closed = run(told, "closed")
    assert closed.startswith("HTTP/1.1 401")
    assert "auth.missing" in closed
    rows = json.loads(run(told, "three heavy inspections"))
    assert len(rows) == 3
    assert all(row["inspector"].endswith("*") and row["line"]["line_name"] for row in rows)
    assert [row["inspection_id"] for row in rows if row["remarks"]] == [2742]
    assert "\netag:" in run(told, "one row").lower()
    assert run(told, "as CSV").splitlines()[0] == "lot_no,weight"


def test_a_write_that_is_repeated_is_done_once(told: dict[str, Any]) -> None:
    first, second = run(told, "write a remark"), run(told, "write a remark")
    assert first.startswith("HTTP/1.1 201")
    assert "请复检" in first
    assert "idempotent-replayed: true" in second.lower()


def test_another_token(told: dict[str, Any]) -> None:
    assert json.loads(run(told, "by OAuth 2"))["token_type"] == "Bearer"


def test_graphql(told: dict[str, Any]) -> None:
    answer = json.loads(run(told, "GraphQL"))
    assert "errors" not in answer
    first, _ = answer["data"]["inspections"]["nodes"]
    assert first["inspector"].endswith("*")
    assert first["line"]["line_name"]


def test_soap(told: dict[str, Any]) -> None:
    assert "definitions" in run(told, "clients read first")
    answer = run(told, "SOAP: two rows")
    assert answer.count("<inspection_id>") == 2 or answer.count("inspection_id>") == 4
    assert "Fault" not in answer


def test_every_line_that_is_printed_ends_well(told: dict[str, Any]) -> None:
    for call in told["serve"]["calls"]:
        answer = run(told, call["shows"])
        assert "HTTP/1.1 5" not in answer
        if call["shows"].startswith("closed"):
            continue
        assert "/docs/problems" not in answer, call
