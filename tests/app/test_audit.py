"""The command `audit`: who managed and called what, and whether the trail is whole."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tongqu.core.policy import Actor
from tongqu.gateway.audit.watch import AuditWatch
from tongqu.gateway.exchange import Notes, Reply, Request
from tongqu.gateway.publication import Publication
from tongqu.store.audit.trail import Trail
from tongqu.store.audit.usage import Usage
from tongqu.store.home import Home
from tongqu.testing.command_line import Done, environment, inside


def secret_set(folder: Path, name: str, value: str) -> Done:
    command = [sys.executable, "-m", "tongqu", "secret", "set", name, "--json"]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), input=value, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


async def no_body(limit: int) -> bytes:
    del limit
    return b""


def called(home: Home) -> None:
    """Three calls of `lots`, two of them by mes, and five that were refused."""
    trail, usage = Trail.open(home), Usage.open(home)
    watch = AuditWatch(trail, "c-1", usage)
    cases = [("mes", 200, ""), ("erp", 200, ""), ("mes", 504, "source.slow"), *[("mes", 429, "limit.exceeded")] * 5]
    for client, status, reason in cases:
        notes = Notes("lots", "v1", "read", rows=3, fields=("lot_no",), reason=reason)
        watch.saw(Request("GET", "/api/v1/lots", "", {}, "10.1.2.3", "r", "", 0.0, no_body, Publication("1"),
                          actor=Actor(f"client:{client}"), notes=notes), Reply(status), 0.01)  # fmt: skip
    watch.close()
    usage.close()
    trail.close()


def test_what_was_managed_is_shown_without_secrets(tmp_path: Path) -> None:
    assert inside(tmp_path, "secret", "init", "--json").code == 0
    assert secret_set(tmp_path, "mes", "hunter2-of-the-plant").code == 0
    assert inside(tmp_path, "secret", "remove", "gone", "--json").code != 0
    records = inside(tmp_path, "audit", "show", "--kind", "action", "--json").document["records"]
    assert [(r["what"], r["on"], r["outcome"]) for r in reversed(records)] == [
        ("secret.init", "", "begun"), ("secret.init", "", "done"),
        ("secret.set", "mes", "begun"), ("secret.set", "mes", "done"),
        ("secret.remove", "gone", "begun"), ("secret.remove", "gone", "config.secret"),
    ]  # fmt: skip
    assert all(r["who"].startswith("operator:") for r in records)
    assert "hunter2" not in "".join(path.read_text() for path in tmp_path.glob("home/audit/2*/*.log"))
    assert inside(tmp_path, "audit", "verify", "--json").document == {
        "ok": True, "records": 6, "first_bad": None, "chains": 1, "gaps": []
    }  # fmt: skip


def test_a_change_of_the_trail_is_found_and_nothing_is_managed_any_more(tmp_path: Path) -> None:
    assert inside(tmp_path, "secret", "init", "--json").code == 0
    [path] = tmp_path.glob("home/audit/2*/main.log")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"secret.init", b"secret.look", 1))
    found = inside(tmp_path, "audit", "verify", "--json")
    assert (found.code, found.document["ok"]) == (1, False)
    assert (found.document["first_bad"]["chain"], found.document["first_bad"]["seq"]) == ("main", 0)
    assert "was changed" in inside(tmp_path, "audit", "verify", "--lang", "en").out
    path.write_bytes(whole[:-1])
    refused = inside(tmp_path, "secret", "rotate", "--json")
    assert refused.document["problems"][0]["code"] == "run.audit"


def test_the_owner_of_an_api_sees_its_calls(tmp_path: Path) -> None:
    called(Home(tmp_path / "home"))
    shown = inside(tmp_path, "audit", "show", "--who", "client:mes", "--status", "5xx", "--json").document["records"]
    assert [(r["outcome"], r["code"]) for r in shown] == [(504, "source.slow")]
    assert inside(tmp_path, "audit", "show", "--since", "1h", "--kind", "call", "--json").document["records"]
    assert inside(tmp_path, "audit", "show", "--until", "1h", "--json").document["records"] == []
    assert "5 × limit.exceeded" in inside(tmp_path, "audit", "show").out


def test_calls_and_usage_of_an_api(tmp_path: Path) -> None:
    from tongqu.app.services.auditing import Auditing
    from tongqu.store.scrub import Scrubber

    home = Home(tmp_path / "home")
    service = Auditing(home, Scrubber())
    assert service.calls("lots", 9, client="mes", outcome="")["calls"] == []
    called(home)
    calls = service.calls("lots", 9, client="mes", outcome="", since="")["calls"]
    assert sorted((c["kind"], c["outcome"]) for c in calls) == [("call", 200), ("call", 504), ("refused", 429)]
    assert service.calls("other", 9)["calls"] == []
    shown = inside(tmp_path, "api", "calls", "lots", "--client", "erp", "--json").document["calls"]
    assert [(c["who"], c["outcome"]) for c in shown] == [("client:erp", 200)]
    assert "lot_no" in inside(tmp_path, "api", "usage", "lots").out
    uses = service.usage("lots", "v1")["uses"]
    assert {(u["client"], u["field"]): u["count"] for u in uses} == {
        ("client:erp", ""): 1, ("client:erp", "lot_no"): 1, ("client:mes", ""): 1, ("client:mes", "lot_no"): 1
    }  # fmt: skip


def test_who_was_given_which_role_is_written_down(tmp_path: Path) -> None:
    added = inside(tmp_path, "client", "add", "mes", "--role", "quality", "--json")
    assert added.code == 0, added.err
    [done, begun] = inside(tmp_path, "audit", "show", "--what", "client.add", "--json").document["records"]
    assert (begun["on"], begun["options"], done["outcome"]) == ("mes", {"role": ["quality"]}, "done")
    assert added.document["client_secret"] not in json.dumps([done, begun])


def test_an_export_is_audited_and_never_overwrites(tmp_path: Path) -> None:
    called(Home(tmp_path / "home"))
    done = inside(tmp_path, "audit", "export", "calls.jsonl", "--kind", "call", "--json").document
    assert done["records"] == 3
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == [200, 200, 504]
    assert (tmp_path / "calls.jsonl").stat().st_mode & 0o777 == 0o600
    again = inside(tmp_path, "audit", "export", "calls.jsonl", "--json")
    assert again.document["problems"][0]["code"] == "run.audit"
    outcomes = inside(tmp_path, "audit", "show", "--what", "audit.export", "--json").document["records"]
    assert [r["outcome"] for r in outcomes] == ["failed", "begun", "done", "begun"]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "5x"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "home" / "audit").mkdir(parents=True)
    (tmp_path / "home" / "audit.key").write_text("00" * 32)
    refused = inside(tmp_path, "audit", "show", "--since", text, "--json")
    assert (refused.code, refused.document["problems"][0]["code"]) == (2, "config.invalid_settings")


def test_looking_creates_nothing(tmp_path: Path) -> None:
    assert inside(tmp_path, "audit", "show", "--json").document == {"records": []}
    assert inside(tmp_path, "audit", "verify", "--json").document["ok"]
    assert not (tmp_path / "home").exists()


def test_records_as_a_sheet(tmp_path: Path) -> None:
    inside(tmp_path, "client", "add", "mes", "--json")
    done = inside(tmp_path, "audit", "export", "all.csv", "--json").document
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == done["records"] and rows[0]["kind"] == "action"
    assert {row["what"] for row in rows} >= {"client.add", "audit.export"}
    assert "begun" in json.loads(rows[1]["more"])
