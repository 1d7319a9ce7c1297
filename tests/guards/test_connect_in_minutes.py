"""The walk to two unknown systems runs as it was written down, in both languages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "unknown-systems"
PAGES = ("docs/connect-in-minutes.md", "docs/connect-in-minutes.zh-CN.md")


def commands(page: str) -> str:
    return "".join(re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL))


@contextmanager
def vendor(program: str) -> Iterator[str]:
    """The port of a vendor in a process of its own; it has bound the port when it prints it."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE / program), "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def walked(folder: Path, lake: str, part: int, ports: dict[str, str]) -> str:
    """What the commands of a part say; all of them must succeed."""
    here = Path(sys.executable).parent
    environment = {
        **os.environ, "PATH": f"{here}:{os.environ['PATH']}", "TONGQU_HOME": str(folder / "home"),
        "LAKE_URL": lake, "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    script = commands(PAGES[0])
    for usual, port in ports.items():
        script = script.replace(f":{usual}", f":{port}")
    whole = script.partition("mkdir hr")
    script = "set -e\n" + (whole[0] if part == 0 else "tongqu secret init\n" + "".join(whole[1:]))
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)
def test_a_document_of_openapi(tmp_path: Path, pg_url: str) -> None:
    shutil.copy(EXAMPLE / "defects.csv", tmp_path)
    with vendor("qms.py") as port:
        document = (EXAMPLE / "star-qms.json").read_text(encoding="utf-8")
        (tmp_path / "star-qms.json").write_text(document.replace(":8441", f":{port}"), encoding="utf-8")
        said = walked(tmp_path, pg_url, 0, {"8441": port})
    assert "检验批 JY209900012 不存在" in said
    assert said.count("both sides hold the same rows") == 2
    differences = (tmp_path / "differences.json").read_text(encoding="utf-8")
    assert json.loads(differences)
    assert "NC9003" in differences
    with duckdb.connect(tmp_path / "lake.duckdb", read_only=True) as lake:
        found = lake.sql("SELECT count(*), sum(measuredValue) FROM inspection_lots_results").fetchall()
    assert found == [(480, Decimal("4805.7840"))]


@pytest.mark.timeout(600)
def test_a_wsdl(tmp_path: Path, pg_url: str) -> None:
    shutil.copy(EXAMPLE / "days.csv", tmp_path)
    with vendor("attendance.py") as port:
        said = walked(tmp_path, pg_url, 1, {"8442": port})
    assert "工时超过 24 小时" in said
    assert "both sides hold the same rows" in said


def test_both_pages_show_the_same_commands() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])
