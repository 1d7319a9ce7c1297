"""`run --watch`: runs again when a file of the project changes, and ends in order."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tongqu.testing.command_line import inside, make, query, start

PROJECT = """\
project: plant
connections: {{qms: {{type: sqlite, path: qms.db}}, lake: {{type: sqlite, path: lake.db}}}}
pipelines:
  parts:
    source: {{connection: qms, dataset: parts}}
    steps: [{{filter: "{rows}"}}{more}]
    sink: {{connection: lake}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "qms.db", "parts", "id INTEGER PRIMARY KEY, kind TEXT", [(n, "a") for n in range(1, 11)])
    return tmp_path


def say(folder: Path, rows: str, more: str = "") -> None:
    (folder / "tongqu.new").write_text(PROJECT.format(rows=rows, more=more), encoding="utf-8")
    (folder / "tongqu.new").replace(folder / "tongqu.yaml")


def line(process: subprocess.Popen[str], words: str) -> str:
    """The next line of stderr that holds these words."""
    assert process.stderr is not None
    return next(said for said in process.stderr if words in said)


def test_it_runs_again_after_each_change_and_ctrl_c_ends_it(folder: Path) -> None:
    say(folder, "id <= 4")
    with start(folder, "run", "parts", "--watch", "--json") as process:
        assert "1 files" in line(process, "waiting")
        assert query(folder / "lake.db", "select count(*) from parts") == [(4,)]
        (folder / "kinds.csv").write_text("kind,becomes\na,gear\n", encoding="utf-8")
        say(folder, "id <= 7", ", {code_map: {kind: {file: kinds.csv}}}")
        assert "tongqu.yaml" in line(process, "changed")
        assert "2 files" in line(process, "waiting"), "the list of codes is a file of the project too"
        assert query(folder / "lake.db", "select count(*), max(kind) from parts") == [(7, "gear")]
        say(folder, "idd <= 7", ", {code_map: {kind: {file: kinds.csv}}}")
        assert "idd" in line(process, "idd")
        line(process, "waiting")
        say(folder, "id <= 9", ", {code_map: {kind: {file: kinds.csv}}}")
        line(process, "waiting")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    document = json.loads(out)
    assert (document["status"], document["streams"][0]["written"]) == ("succeeded", 9)


def test_what_cannot_be_watched(folder: Path) -> None:
    say(folder, "id <= 4")
    refused = inside(folder, "run", "parts", "--watch", "--queue", "--json")
    assert refused.code == 2
    assert "exclude each other" in refused.document["problems"][0]["message"]
