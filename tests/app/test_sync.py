"""`tongqu sync`: the document, the exit codes, stopping, resuming, and what is never shown."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.app.services.syncing import SyncRequest, settle
from tongqu.core.data import Deletes, Mode, WriteMode
from tongqu.core.errors import ConfigError
from tongqu.testing.command_line import Done, make, query, start, tongqu

KEYS = {
    "name", "mode", "lane", "read", "written", "inserted", "updated", "deleted", "unchanged", "merged", "filtered",
    "deduplicated", "generated", "quarantined", "bytes", "seconds",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a SQLite file of 1,000 orders."""
    make(tmp_path / "a.db", "orders", "id INTEGER PRIMARY KEY, name TEXT", ((n, f"n{n}") for n in range(1, 1001)))
    return tmp_path


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def problem(done: Done) -> tuple[str, str, str]:
    assert done.document["ok"] is False
    [first, *_] = done.document["problems"]
    assert set(first) >= {"path", "code", "message", "hint"}
    return first["path"], first["code"], first["message"]


def test_the_document(folder: Path) -> None:
    done = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--json")
    assert done.code == 0, done.err
    document = done.document
    assert set(document) == {"run", "status", "attempts", "lane", "streams"}
    assert (document["status"], document["attempts"]) == ("succeeded", 1)
    [stream] = document["streams"]
    assert set(stream) >= KEYS
    assert (stream["name"], stream["mode"], stream["read"], stream["written"]) == ("orders", "full", 1000, 1000)
    assert query(folder / "b.db", "SELECT count(*), sum(id) FROM orders") == [(1000, 500500)]
    assert done.err == ""


def test_people_get_a_table(folder: Path) -> None:
    done = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--lang", "zh")
    assert done.code == 0, done.err
    heading, row, end = done.out.splitlines()
    assert heading.split()[:4] == ["数据流", "通道", "读取", "写入"]
    assert row.split()[0] == "orders"
    assert "1,000" in row
    assert end.endswith("：成功")


def test_options_may_stand_anywhere(folder: Path) -> None:
    first = tongqu(folder, "--json", "--project", ".", "sync", "--write", "append", "sqlite:a.db", "sqlite:b.db")
    assert (first.code, first.document["status"]) == (0, "succeeded")
    second = tongqu(folder, "--json", "sync", "sqlite:a.db", "--table", "orders=copy", "sqlite:b.db", "--project=.")
    assert (second.code, second.document["status"]) == (0, "succeeded")
    assert query(folder / "b.db", "SELECT count(*) FROM copy") == [(1000,)]


def test_progress_is_one_line_per_commit(folder: Path) -> None:
    done = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--chunk-rows", "100", "--progress", "jsonl", "--json")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert all(set(line) == {"run", "stream", "split", "read", "written"} for line in lines)
    assert (lines[-1]["run"], lines[-1]["read"]) == (done.document["run"], 1000)


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ({"mode": "fast"}, "--mode", "'fast' is not one of the values allowed"),
        ({"mode": "incremental"}, "--cursor", "needs a cursor"),
        ({"cursor": "id"}, "--cursor", "only used with mode incremental"),
        ({"mode": "cdc", "write": "replace"}, "--write", "cannot replace the target"),
        ({"mode": "cdc", "cursor": "id"}, "--cursor", "only used with mode incremental"),
        ({"mode": "stream", "deletes": "hard"}, "--deletes", "found by full reads only"),
        ({"mode": "cdc", "lane": "pass"}, "--lane", "has one lane"),
        ({"until_caught_up": True}, "--until-caught-up", "only what follows a log"),
        ({"mode": "incremental", "cursor": "id", "write": "replace"}, "--write", "cannot replace the target"),
        ({"mode": "incremental", "cursor": "id", "deletes": "hard"}, "--deletes", "found by full reads only"),
        ({"write": "upsrt"}, "--write", "'upsrt'"),
        ({"lane": "fast"}, "--lane", "'fast'"),
        ({"deletes": "maybe"}, "--deletes", "'maybe'"),
        ({"key": ("id,id",)}, "--key", "stands twice"),
        ({"quarantined": "few"}, "--max-quarantined", "neither a count nor a share"),
        ({"splits": 0}, "--splits", "at least 1"),
        ({"chunk_rows": -1}, "--chunk-rows", "at least 1"),
    ],
)
def test_wrong_arguments_are_refused_from_themselves(arguments: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settle(SyncRequest("sqlite:a.db", "sqlite:b.db", **arguments))
    assert (raised.value.path, raised.value.exit_code) == (path, 2)
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--bogus"], "usage"), (["--lang", "fr"], "usage"), (["--write", "upsrt"], "config.invalid_settings")],
)
def test_wrong_arguments_exit_with_2_before_any_connection(folder: Path, arguments: list[str], code: str) -> None:
    done = tongqu(folder, "sync", "postgresql://127.0.0.1:1/none", "sqlite:b.db", "--json", *arguments)
    assert (done.code, problem(done)[1]) == (2, code)
    assert not (folder / "b.db").exists()


def test_defaults() -> None:
    full = settle(SyncRequest("sqlite:a.db", "sqlite:b.db"))
    assert (full.mode, full.write, full.deletes) == (Mode.FULL, WriteMode.REPLACE, Deletes.IGNORE)
    changes = settle(SyncRequest("sqlite:a.db", "sqlite:b.db", mode="incremental", cursor="id", key=("a, b", "c")))
    assert (changes.write, changes.key) == (None, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("nosql:x", "config.unknown_connector", "unknown URL scheme 'nosql'"),
        ("lake", "config.unknown_connector", "is neither a URL nor the name of a connection"),
        ("sqlite:${env:TONGQU_NOT_SET}", "config.secret", "TONGQU_NOT_SET is not set"),
        ("postgresql://u:${secret:nope}@h/db", "config.secret", "the secret 'nope' is not there"),
    ],
)
def test_a_source_that_cannot_be_meant_exits_with_2(folder: Path, source: str, code: str, message: str) -> None:
    done = tongqu(folder, "sync", source, "sqlite:b.db", "--json")
    _, found_code, found_message = problem(done)
    assert (done.code, found_code) == (2, code)
    assert message in found_message


def test_what_is_learnt_by_talking_exits_with_1(folder: Path) -> None:
    missing = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--table", "ordres", "--json")
    assert (missing.code, problem(missing)[1]) == (1, "connector.not_found")
    assert "orders" in missing.document["problems"][0]["hint"]
    refused = tongqu(folder, "sync", "postgresql://127.0.0.1:1/db", "sqlite:b.db", "--json")
    assert (refused.code, problem(refused)[1]) == (1, "connector.connect")
    for done in (missing, refused):
        assert "Traceback" not in done.err


def test_references_are_resolved_and_hidden(folder: Path) -> None:
    done = tongqu(folder, "sync", "sqlite:${env:WHERE}", "sqlite:b.db", "--json", WHERE=str(folder / "a.db"))
    assert done.code == 0, done.err


def test_stop_then_go_on_with_the_same_run(folder: Path) -> None:
    make(folder / "big.db", "t", "id INTEGER PRIMARY KEY, v TEXT", ((n, "x" * 50) for n in range(300_000)))
    command = ("sync", "sqlite:big.db", "sqlite:b.db", "--chunk-rows", "2000", "--progress", "jsonl", "--json")
    with start(folder, *command) as process:
        assert process.stderr is not None
        json.loads(process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    stopped = json.loads(out)
    assert (stopped["status"], stopped["ok"], stopped["problems"][0]["code"]) == ("stopped", False, "run.cancelled")
    assert 0 < stopped["streams"][0]["read"] < 300_000

    done = tongqu(folder, *command)
    assert done.code == 0, done.err
    assert (done.document["run"], done.document["attempts"]) == (stopped["run"], 2)
    assert done.document["streams"][0]["read"] == 300_000
    assert query(folder / "b.db", "SELECT count(*), sum(id) FROM t") == [(300_000, 299_999 * 150_000)]
    [run] = tongqu(folder, "runs", "list", "--json").document["runs"]
    assert (run["run"], run["status"], run["attempts"]) == (stopped["run"], "succeeded", 2)


def test_the_second_signal_quits_at_once(folder: Path, silent: int) -> None:
    with start(folder, "sync", f"postgresql://127.0.0.1:{silent}/db", "sqlite:b.db") as process:
        assert process.stderr is not None
        _when(lambda: "psycopg" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"))
        process.send_signal(signal.SIGINT)
        assert "once more" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
    assert process.returncode == 1


def test_a_password_in_a_url_is_warned_about_and_shown_nowhere(folder: Path, silent: int) -> None:
    secret = "hunter2-very-secret"
    url = f"postgresql://app:{secret}@127.0.0.1:{silent}/db"
    with start(folder, "sync", url, "sqlite:b.db", "--json", "--debug") as process:
        try:
            title = Path(f"/proc/{process.pid}/cmdline")
            _when(lambda: b"app:***" in title.read_bytes())
            assert secret.encode() not in title.read_bytes()
        finally:
            process.kill()
        process.communicate(timeout=10)

    done = tongqu(folder, "sync", url.replace(str(silent), "1"), "sqlite:b.db", "--json", "--debug")
    assert done.code == 1
    assert done.err.count("a password in a URL") == 1
    assert "Traceback" in done.err
    everything = done.out + done.err + tongqu(folder, "runs", "list", "--json").out
    assert secret not in everything
    for path in (folder / "home").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_a_home_that_cannot_be_written_never_fails_a_sync(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    done = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--json", TONGQU_HOME=str(folder / "file" / "home"))
    assert done.code == 0
    assert done.err.count("runs cannot be recorded") == 1


def test_a_killed_run_is_shown_as_interrupted(folder: Path) -> None:
    done = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", TONGQU_CRASH_AT="before_finish")
    assert done.code == -signal.SIGKILL
    [run] = tongqu(folder, "runs", "list", "--json").document["runs"]
    assert run["status"] == "interrupted"
    assert tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--json").document["run"] == run["run"]


def test_a_table_is_not_written_onto_itself(folder: Path) -> None:
    for source in ("sqlite:a.db", f"sqlite:{folder}/a.db"):
        refused = tongqu(folder, "sync", source, "sqlite:a.db", "--table", "orders", "--write", "append", "--json")
        assert (refused.code, problem(refused)[1]) == (2, "config.invalid_plan")
    assert query(folder / "a.db", "select count(*) from orders") == [(1000,)]
    assert tongqu(folder, "sync", "sqlite:a.db", "sqlite:a.db", "--table", "orders=copy").code == 0


def test_runs_show_plan_counts_and_log(folder: Path) -> None:
    run = tongqu(folder, "sync", "sqlite:a.db", "sqlite:b.db", "--json").document["run"]
    shown = tongqu(folder, "runs", "show", run, "--json").document
    assert (shown["run"], shown["status"], shown["plan"][0]["stream"]) == (run, "succeeded", "orders")
    assert shown["streams"][0]["read"] == 1000
    events = [line["event"] for line in tongqu(folder, "runs", "logs", run, "--json").document["lines"]]
    assert events[0] == "StreamPlanned"
    assert events[-1] == "StreamEnded"
    assert run in tongqu(folder, "runs", "show", run).out
    missing = tongqu(folder, "runs", "show", "nope", "--json")
    assert (missing.code, problem(missing)[1]) == (1, "connector.not_found")


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    assert tongqu(tmp_path, "runs", "list", "--json").document == {"runs": []}
    assert tongqu(tmp_path, "quarantine", "list", "--json").document == {"rows": []}
    assert tongqu(tmp_path, "quarantine", "list", "sqlite:typo.db", "--json").document == {"rows": []}
    assert list(tmp_path.iterdir()) == []


def _when(condition: object, seconds: float = 20.0) -> None:
    """Wait until the condition holds."""
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_two_way_as_a_mode_is_answered_with_the_lines_of_a_project_file(folder: Path, lang: str) -> None:
    """They are right as they stand: put into a file they pass the check, and the first round runs."""
    make(folder / "b.db", "orders", "id INTEGER PRIMARY KEY, name TEXT", [(1, "n1")])
    asked = ("sync", "sqlite:a.db", "sqlite:b.db", "--table", "orders", "--mode", "two-way", "--lang", lang)
    done = tongqu(folder, *asked, "--json")
    assert done.code == 2
    (told,) = done.document["problems"]
    assert (told["path"], told["code"]) == ("--mode", "config.invalid_plan")
    first, *lines, last = told["hint"].splitlines()
    assert "tongqu twoway run orders" in first and "--mode full" in last
    assert ("双向" in told["message"]) == (lang == "zh")
    (folder / "tongqu.yaml").write_text("\n".join(["project: p", *lines]), encoding="utf-8")
    assert tongqu(folder, "twoway", "run", "orders", "--json").document["stage"] == "shadow"

    secret = ("sync", "postgresql://me:hunter22@127.0.0.1:1/x", "b", "--mode", "both", "--lang", lang)
    (folder / "tongqu.yaml").write_text("project: p\nconnections: {b: {type: sqlite, path: b.db}}", encoding="utf-8")
    done = tongqu(folder, *secret, "--json")
    assert "hunter22" not in done.out + done.err and "${env:LEFT_URL}" in done.document["problems"][0]["hint"]
    done = tongqu(folder, "sync", "file:x.csv", "b", "--mode", "two_way", "--lang", lang, "--json")
    assert done.code == 2 and "PostgreSQL" in done.document["problems"][0]["hint"], done
