"""Other people's connectors from the command line: installed on purpose, run in pipelines, resumed after a crash."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tongqu.testing.command_line import query, tongqu
from tongqu.testing.foreign import TAP, furnished
from tongqu.testing.wheels import wheel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose pipeline reads a tap by increments."""
    furnished(tmp_path / "home/foreign")
    rows(tmp_path, 20)
    return tmp_path


def rows(folder: Path, number: int) -> None:
    """The tap has so many rows from now on."""
    (folder / "tongqu.yaml").write_text(
        f"""
connections:
  tap: {{type: singer, tap: {TAP}, account: plant, config: {{every: 5, rows: {number}}}}}
  lake: {{type: sqlite, path: lake.db}}
pipelines:
  items:
    source: {{connection: tap, dataset: items, mode: incremental}}
    sink: {{connection: lake, dataset: items, write: append}}
""",
        encoding="utf-8",
    )


def ids(folder: Path) -> list[int]:
    return [row[0] for row in query(folder / "lake.db", "SELECT id FROM items ORDER BY id")]


def test_the_next_run_begins_with_the_state_that_was_committed(folder: Path) -> None:
    assert tongqu(folder, "run", "items").code == 0
    rows(folder, 23)
    done = tongqu(folder, "run", "items", "--json")
    assert (done.code, done.document["streams"][0]["read"]) == (0, 3)
    assert ids(folder) == list(range(1, 24))


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_finish", "after_finish"])
def test_a_crash_loses_and_doubles_nothing(folder: Path, point: str) -> None:
    assert tongqu(folder, "run", "items", TONGQU_CRASH_AT=point).code not in (0, 1, 2, 3)
    assert tongqu(folder, "run", "items").code == 0
    rows(folder, 21)
    assert tongqu(folder, "run", "items").code == 0
    assert ids(folder) == list(range(1, 22))


def test_a_package_is_installed_when_it_was_confirmed(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    made = wheel(wheels, "tap-x", "1.0")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"tap-x==1.0 --hash=sha256:{sha256(made.read_bytes()).hexdigest()}\n")
    asked = ("connectors", "install", "tap-x==1.0", "--lock", str(lock), "--from", str(wheels), "--json")
    refused = tongqu(tmp_path, *asked)
    (problem,) = refused.document["problems"]
    assert (refused.code, problem["code"]) == (2, "config.unconfirmed")
    assert "tap-x==1.0 --hash=sha256:" in refused.err
    digest = problem["hint"].rpartition(" ")[2]
    assert tongqu(tmp_path, *asked, "--hash", "sha256:" + "0" * 64).code == 2
    done = tongqu(tmp_path, *asked, "--hash", digest)
    assert (done.code, done.document["installed"]["programs"]) == (0, ["tap-x"])
    assert done.document["installed"]["egress"] == "not enforced"
    listed = tongqu(tmp_path, "--json", "connectors", "installed").document["installed"]
    assert [(one["name"], one["version"]) for one in listed] == [("tap-x", "1.0")]
    assert tongqu(tmp_path, "connectors", "remove", "tap-x").code == 0
    assert tongqu(tmp_path, "connectors", "remove", "tap-x").code == 1


def test_connectors_without_a_command_lists_what_there_is(tmp_path: Path) -> None:
    found = {one["name"]: one for one in json.loads(tongqu(tmp_path, "--json", "connectors").out)["connectors"]}
    for name in ("singer", "singer_target", "airbyte", "dlt"):
        assert "egress: not enforced" in found[name]["guarantees"]["en"]
    for lang, told in (("en", "egress: not enforced"), ("zh", "出站未强制")):
        assert told in tongqu(tmp_path, "connectors", "--lang", lang).out
