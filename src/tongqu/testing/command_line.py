"""Runs the command line as people do: in a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tongqu.store.scrub import known


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment with a home in the folder and English messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TONGQU_", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C.UTF-8", "TONGQU_HOME": str(folder / "home"), **more}


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Begin a command."""
    return subprocess.Popen(
        [sys.executable, "-m", "tongqu", *arguments],
        cwd=folder,
        env=environment(folder, **environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def tongqu(folder: Path, *arguments: str, **environ: str) -> Done:
    """Run a command to its end."""
    with start(folder, *arguments, **environ) as process:
        out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def inside(folder: Path, *arguments: str, **environ: str) -> Done:
    """Run a command to its end in this process: quicker where what a process is (signals, its title, what it imports)
    is not what is tested. Not for several threads at once."""
    from tongqu.app.cli.main import main

    out, err, before = StringIO(), StringIO(), (dict(os.environ), sys.argv)
    os.environ.clear()
    os.environ.update(environment(folder, **environ))
    sys.argv = ["tongqu", *arguments]
    try:
        with _knowing_nothing(), chdir(folder), redirect_stdout(out), redirect_stderr(err):
            main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        sys.argv = before[1]
    return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def _knowing_nothing() -> Iterator[None]:
    """As a new process begins: without the secrets that were seen before, whose words may stand in any message."""
    kept = known._secrets, known._ordered
    known._secrets, known._ordered = set(), ()
    try:
        yield
    finally:
        known._secrets, known._ordered = kept


def make(path: Path, table: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
    """Create a table in a SQLite file."""
    database = sqlite3.connect(path)
    with database:
        database.execute(f"CREATE TABLE {table} ({columns})")
        values = list(rows)
        if values:
            marks = ", ".join("?" * len(values[0]))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
    database.close()


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a SQLite file."""
    database = sqlite3.connect(path)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()
