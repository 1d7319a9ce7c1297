"""The sections `identity` and `audit` count as soon as the files say so, and all of a version counts or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.app.test_serve import PROJECT, config, lake, owned, write

from tongqu.testing.command_line import inside
from tongqu.testing.services.gateway import Answered, Gateway

ORDERS = "/api/v1/orders"
CLOSED = PROJECT.replace("access: {public: true}", "access: {roles: [quality]}")


def bearer(folder: Path) -> tuple[str, str]:
    token = inside(folder, "token", "issue", "mes", "--json").document["access_token"]
    return "authorization", f"Bearer {token}"


def sinks(folder: Path, *names: str) -> str:
    told = ", ".join(f"{name}: {{type: file, path: {folder / name}.log}}" for name in names)
    return f"audit: {{sinks: {{{told}}}}}\n"


def until(
    gateway: Gateway, wanted: Callable[[Answered], bool], *headers: tuple[str, str], path: str = ORDERS
) -> Answered:
    """The first answer of that kind, however slow the machine is."""
    found: list[Answered] = []

    def right(_: Answered) -> bool:
        found.append(gateway.ask(path, headers=headers))
        return wanted(found[-1])

    gateway.until(right, "/healthz", seconds=60)
    return found[-1]


def calls(path: Path) -> int:
    return path.read_text().count('"kind":"call"') if path.exists() else 0


def test_settings_of_identity_are_swapped_in_while_it_runs(tmp_path: Path) -> None:
    write(tmp_path, CLOSED)
    lake(tmp_path)
    assert inside(tmp_path, "client", "add", "mes", "--role", "quality", "--json").code == 0
    with Gateway(tmp_path) as gateway:
        old = bearer(tmp_path)
        assert gateway.ask(ORDERS, headers=[old]).status == 200
        write(tmp_path, CLOSED + "identity: {audience: another, token_seconds: 90}\n")
        refused = until(gateway, lambda answer: answer.status == 401, old)
        assert refused.json["code"] == "auth.invalid"  # also where the token was found good a moment before
        new = bearer(tmp_path)
        assert gateway.ask(ORDERS, headers=[new]).status == 200
        write(tmp_path, CLOSED)
        until(gateway, lambda answer: answer.status == 200, old)
        assert gateway.ask(ORDERS, headers=[new]).status == 401


def test_sinks_of_the_audit_come_and_go_while_it_runs(tmp_path: Path) -> None:
    write(tmp_path, PROJECT)
    lake(tmp_path)
    with Gateway(tmp_path) as gateway:
        before = config(gateway.ask(ORDERS))
        write(tmp_path, PROJECT + sinks(tmp_path, "one", "two"))
        until(gateway, lambda answer: config(answer) != before)
        until(gateway, lambda _: all(calls(tmp_path / f"{name}.log") for name in ("one", "two")))
        before = config(gateway.ask(ORDERS))
        write(tmp_path, PROJECT + sinks(tmp_path, "two", "three"))
        until(gateway, lambda answer: config(answer) != before)
        until(gateway, lambda _: calls(tmp_path / "three.log") > 0)
        known = calls(tmp_path / "two.log")
        until(gateway, lambda _: calls(tmp_path / "two.log") > known)
        behind = gateway.ask("/metrics").body.decode()
        assert 'tongqu_audit_sink_behind_bytes{sink="three"}' in behind
    gone = [json.loads(line[line.index("{") :]) for line in (tmp_path / "one.log").read_text().splitlines()]
    assert not any(one["kind"] == "end" for one in gone)  # what came later went only to those that are left
    assert inside(tmp_path, "audit", "verify", "--json").document["ok"]


def test_a_version_whose_audit_cannot_be_kept_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, PROJECT)
    lake(tmp_path)
    with Gateway(tmp_path) as gateway:
        before, owner = config(gateway.ask(ORDERS)), owned(gateway)
        wrong = "audit: {sinks: {splunk: {type: splunk, base_url: 'https://s.example', token: '${secret:nothing}'}}}\n"
        write(tmp_path, PROJECT + wrong + "identity: {audience: another}\n")
        told = until(gateway, lambda answer: answer.json["stale"] and "problems" in answer.json, owner, path="/readyz")
        assert "nothing" in str(told.json["problems"])
        assert config(gateway.ask(ORDERS)) == before
        write(tmp_path, PROJECT)
        until(gateway, lambda answer: not answer.json["stale"], path="/readyz")
