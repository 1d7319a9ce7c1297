"""What the command line does on a disk that forgets: whatever is lost, the next run makes it whole."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tongqu.kit import lasting
from tongqu.testing.command_line import inside, make, query
from tongqu.testing.forgetting.deed import Deed, Tell

COLUMNS = "id INTEGER PRIMARY KEY, name TEXT NOT NULL, ver INTEGER NOT NULL"
Rows = list[tuple[Any, ...]]


def _in_sqlite(folder: Path) -> Rows:
    return query(folder / "b.db", "SELECT id, name FROM orders ORDER BY id")


def _in_duckdb(folder: Path) -> Rows:
    import duckdb

    with duckdb.connect(str(folder / "b.duckdb")) as database:
        return database.execute("SELECT id, name FROM orders ORDER BY id").fetchall()


def _in_parquet(folder: Path) -> Rows:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "out" / "orders.parquet", columns=["id", "name"])
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _in_csv(folder: Path) -> Rows:
    with (folder / "orders.csv").open(newline="", encoding="utf-8") as file:
        return sorted((int(id), name) for id, name, *_ in list(csv.reader(file))[1:])


def _in_partitions(folder: Path) -> Rows:
    found: Rows = []
    for path in sorted((folder / "parts" / "orders").glob("[!._]*/*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            name = path.parent.name.partition("=")[2]
            found += [(int(row[0]), name) for row in list(csv.reader(file))[1:]]
    return sorted(found)


SINKS: Mapping[str, tuple[str, Callable[[Path], Rows]]] = {
    "sqlite": ("sqlite:b.db", _in_sqlite),
    "sqlite-journal": ("sqlite:b.db?journal=keep", _in_sqlite),
    "duckdb": ("duckdb:b.duckdb", _in_duckdb),
    "parquet": ("file:out/", _in_parquet),
    "csv": ("file:orders.csv", _in_csv),
    "partitions": ("file:parts/?partition=name&format=csv", _in_partitions),
}
"""Where to, and how another program reads it."""


def _rows(name: str, many: int) -> Rows:
    return [(number, f"{name}{number % 3}", number) for number in range(1, many + 1)]


APPENDED: Sequence[tuple[str, int]] = [("a", 25), ("a", 40), ("a", 60)]
"""Each step adds rows to the source, and appends what is new."""
REPLACED: Sequence[tuple[str, int]] = [("a", 40), ("b", 30), ("c", 45)]
"""Each step has another source, which replaces what is there."""


def _move(folder: Path, outside: Path, url: str, step: tuple[str, int], mode: Sequence[str]) -> str:
    """Bring the source to this step's state and run; what went wrong."""
    source = outside / "source.db"
    fresh = outside / "fresh.db"
    fresh.unlink(missing_ok=True)
    make(fresh, "orders", COLUMNS, _rows(*step))
    shutil.copyfile(fresh, source)
    lasting.make_folder(folder / "plant")
    if url.endswith("journal=keep") and not (folder / "b.db").exists():
        with closing(sqlite3.connect(folder / "b.db")) as database:
            database.execute("PRAGMA user_version = 1")
    command = ["sync", f"sqlite:{source}", url, "--table", "orders", "--chunk-rows", "10", "--json", *mode]
    done = inside(folder, *command, TONGQU_HOME=str(folder / "plant" / "home"))
    if done.code == 0:
        return ""
    return f"exit code {done.code}: {json.dumps(done.document.get('problems', ''))[:600] if done.out else done.err}"


def _moving(sink: str, steps: Sequence[tuple[str, int]], mode: Sequence[str]) -> Deed:
    url, read = SINKS[sink]
    states = [[row[:2] for row in _rows(*step)] for step in steps]

    def do(folder: Path, outside: Path, tell: Tell) -> None:
        for number, step in enumerate(steps):
            if wrong := _move(folder, outside, url, step, mode):
                raise RuntimeError(wrong)
            tell(str(number))

    def check(folder: Path, outside: Path, told: Sequence[str]) -> list[str]:
        done = len(told)
        wrong = []
        if done:
            seen = read(folder)
            if seen not in states[done - 1 : done + 1] and not _growing(seen, states, done, mode):
                wrong.append(f"{len(seen)} rows {seen[:2]} after {done} steps")
        now = min(done, len(steps) - 1)
        if failed := _move(folder, outside, url, steps[now], mode):
            return [*wrong, f"the next run: {failed}"]
        if (seen := read(folder)) != states[now]:
            wrong.append(f"after the next run {len(seen)} rows {seen[:2]} {seen[-1:]}, not {len(states[now])}")
        return wrong

    return Deed(do, check)


def _growing(seen: Rows, states: Sequence[Rows], done: int, mode: Sequence[str]) -> bool:
    """Whether this is what was told and a part of the step that had begun: tables grow by chunks, and folders of
    partitions by files, until their manifest names them."""
    if "append" not in mode or done >= len(states) or len(set(seen)) < len(seen):
        return False
    return set(states[done - 1]) <= set(seen) <= set(states[done])


# ---- steps that keep state, following the embedded queue

PROJECT = """
project: plant
connections:
  erp: {type: sqlite, path: %s}
  changes: {type: queue, path: changes.queue}
  lake: {type: sqlite, path: lake.db}
pipelines:
  by_name:
    source: {connection: changes, dataset: orders, mode: stream}
    steps: [{aggregate: {by: [name], n: "count(*)", total: "sum(ver)"}}]
    sink: {connection: lake, dataset: by_name}
"""
GIVEN = (20, 30, 25)
"""So many orders come into the queue at a time."""


def _command(folder: Path, *command: str) -> str:
    """Run it in the folder; what went wrong."""
    done = inside(folder, *command, "--json", TONGQU_HOME=str(folder / "plant" / "home"))
    return "" if done.code == 0 else f"{command[0]}: exit code {done.code}: {done.out[-600:]} {done.err[-300:]}"


def _follow(folder: Path) -> str:
    return _command(folder, "run", "by_name", "--until-caught-up")


def _follows(folder: Path, outside: Path, tell: Tell) -> None:
    lasting.make_folder(folder / "plant")
    lasting.put(folder / "tongqu.yaml", (PROJECT % (outside / "source.db")).encode())
    for number, many in enumerate(GIVEN):
        (outside / "source.db").unlink(missing_ok=True)
        make(outside / "source.db", "orders", COLUMNS, _rows("a", many))
        given = ("sync", "erp", "changes", "--table", "orders", "--write", "append", "--restart")
        if wrong := _command(folder, *given) or _follow(folder):
            raise RuntimeError(wrong)
        tell(str(number))


def _summed(many: int) -> Rows:
    rows = [row for count in GIVEN[:many] for row in _rows("a", count)]
    names = sorted({name for _, name, _ in rows})
    return [(one, sum(name == one for _, name, _ in rows), sum(ver for _, name, ver in rows if name == one))
            for one in names]  # fmt: skip


def _followed(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    """Whatever is lost, the sums are those of whole chunks of orders that are in the queue, each counted once."""
    if not told:
        return []
    query_all = "SELECT name, n, CAST(total AS INTEGER) FROM by_name ORDER BY name"
    possible = [_summed(many) for many in (len(told), len(told) + 1)]
    wrong = [] if (seen := query(folder / "lake.db", query_all)) in possible else [f"{seen} after {told}"]
    if failed := _follow(folder):
        return [*wrong, failed]
    seen = query(folder / "lake.db", query_all)
    return wrong if seen in possible else [*wrong, f"{seen} when it went on after {told}"]


# ---- versions of a project, and clients


def _applies(folder: Path, _: Path, tell: Tell) -> None:
    lasting.make_folder(folder / "plant")
    for number in range(1, 4):
        lasting.put(
            folder / "tongqu.yaml", f"project: plant\nconnections: {{c{number}: {{type: queue, path: q}}}}\n".encode()
        )
        if wrong := _command(folder, "apply"):
            raise RuntimeError(wrong)
        tell(f"version {number}")
        if wrong := _command(folder, "client", "add", f"client{number}"):
            raise RuntimeError(wrong)
        tell(f"client {number}")


def _applied(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    home = {"TONGQU_HOME": str(folder / "plant" / "home")}
    if not told:
        return []
    versions = inside(folder, "versions", "list", "--json", **home)
    clients = inside(folder, "client", "list", "--json", **home)
    wrong = [f"{done.code}: {done.out[-300:]}{done.err[-300:]}" for done in (versions, clients) if done.code]
    for text in told if not wrong else ():
        what, number = text.split()
        if (what == "version" and f'"version": {number}' not in versions.out) or (
            what == "client" and f"client{number}" not in clients.out
        ):
            wrong.append(f"{text} is lost: {versions.out[-300:]} {clients.out[-300:]}")
    return wrong


_APPEND = ("--mode", "incremental", "--cursor", "ver", "--write", "append")
_REPLACE = ("--write", "replace")

MOVES: Mapping[str, Deed] = {
    **{f"append-{sink}": _moving(sink, APPENDED, _APPEND) for sink in SINKS},
    **{f"replace-{sink}": _moving(sink, REPLACED, _REPLACE) for sink in SINKS},
    "stream": Deed(_follows, _followed),
    "versions": Deed(_applies, _applied),
}
"""Commands by name."""
