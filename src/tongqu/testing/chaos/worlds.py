"""The worlds that chaos plays in: which source, which target, which mode, and all faults that can befall them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

from tongqu.app.services.drilling.drill import Drill, Wish
from tongqu.app.services.drilling.faults import FAULTS, Fault
from tongqu.app.services.drilling.places import DuckdbPlace, Place, PostgresPlace, SqlitePlace
from tongqu.testing.chaos.faults import of_lines, of_server
from tongqu.testing.services import FaultProxy, Postgres

_NUMBERS = count(1)


@dataclass(frozen=True)
class Kind:
    """What a world is made of."""

    source: str
    sink: str
    mode: str
    write: str


WORLDS: Mapping[str, Kind] = {
    "files": Kind("sqlite", "sqlite", "incremental", "upsert"),
    "files_append": Kind("sqlite", "sqlite", "incremental", "append"),
    "duckdb": Kind("sqlite", "duckdb", "incremental", "upsert"),
    "postgres": Kind("postgres", "postgres", "incremental", "upsert"),
    "postgres_cdc": Kind("postgres", "postgres", "cdc", "upsert"),
    "postgres_cdc_file": Kind("postgres", "sqlite", "cdc", "upsert"),
}


@dataclass
class World:
    """An open world: drills can be run in it one after the other."""

    name: str
    kind: Kind
    folder: Path
    faults: list[Fault]
    places: Callable[[Path], tuple[Place, Place, dict[str, str]]]
    tell: Callable[[str, int], None] = lambda fault, number: None
    _stop: Event = field(default_factory=Event)

    def drill(self, seed: int, *, rounds: int = 0, seconds: float = 20.0, only: tuple[str, ...] = ()) -> dict[str, Any]:
        """The certificate of one drill, whose folder is kept. With an even seed the first load is done before the first
        fault."""
        folder = self.folder / f"{self.name}-{seed}-{next(_NUMBERS)}"
        folder.mkdir(parents=True)
        source, sink, environ = self.places(folder)
        faults = [fault for fault in self.faults if not only or fault.name in only]
        wish = Wish(seed, seconds, faults, self.kind.mode, self.kind.write, rounds=rounds, loaded=seed % 2 == 0)
        document = Drill(
            folder, source, sink, wish, lambda: datetime.now(UTC).isoformat(), time.monotonic, self._stop.wait,
            environ, self.tell,
        ).run()  # fmt: skip
        (folder / "certificate.json").write_text(json.dumps(document, indent=2), encoding="utf-8")
        return document

    def again(self, seed: int, rounds: int) -> str:
        """The command that repeats a drill."""
        return f"python -m tongqu.testing.chaos drill --world {self.name} --seed {seed} --rounds {rounds}"


@contextmanager
def open_world(
    name: str, folder: Path, start: Callable[[], AbstractContextManager[Postgres]] | None = None
) -> Iterator[World]:
    """A world with servers of its own (`start` gives a PostgreSQL, which the world may kill)."""
    kind = WORLDS[name]
    with ExitStack() as opened:
        faults = [fault for fault in FAULTS.values() if fault.name != "none"]
        server: Postgres | None = None
        lines: dict[str, FaultProxy] = {}
        if "postgres" in (kind.source, kind.sink):
            if start is None:
                raise ValueError(f"the world {name} needs a server")
            server = opened.enter_context(start())
            lines = {side: opened.enter_context(FaultProxy(server.host, server.port))
                     for side in ("source", "sink") if getattr(kind, side) == "postgres"}  # fmt: skip
            faults += of_lines(lines["source"], lines.get("sink"))
            faults.append(of_server("server-kill", server))

        def places(own: Path) -> tuple[Place, Place, dict[str, str]]:
            environ: dict[str, str] = {}
            made: list[Place] = []
            for side in ("source", "sink"):
                if server is not None and side in lines:
                    made.append(_schema(side, server, lines[side], environ))
                else:
                    made.append(_file(getattr(kind, side), side, own))
            return made[0], made[1], environ

        yield World(name, kind, folder, faults, places)


def _file(kind: str, side: str, folder: Path) -> Place:
    return DuckdbPlace(folder / f"{side}.duckdb") if kind == "duckdb" else SqlitePlace(folder / f"{side}.db")


def _schema(side: str, server: Postgres, line: FaultProxy, environ: dict[str, str]) -> Place:
    """Operations and the reader go straight to the server, Tongqu by the line that is hurt."""
    variable = f"TONGQU_DRILL_{side.upper()}"
    place = PostgresPlace(server.database(), f"tongqu_drill_{side}", f"${{env:{variable}}}")
    environ[variable] = line.url(place.schema_url)
    return place
