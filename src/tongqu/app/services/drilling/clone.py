"""`tongqu drill --faults`: a drill on a clone of a source and a target, whose certificate is kept."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tongqu.app.services.drilling.drill import Drill, Wish
from tongqu.app.services.drilling.faults import FAULTS, Fault
from tongqu.app.services.drilling.places import DuckdbPlace, Place, PostgresPlace, SqlitePlace
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

KEPT = "faults"
"""Under what the home keeps these certificates."""


@dataclass(frozen=True)
class Asked:
    """The arguments. `source` and `sink` are names of connections or URLs: what is cloned is the kind of system and,
    for a server, the server; empty: a SQLite file."""

    faults: Sequence[str] = ()
    source: str = ""
    sink: str = ""
    seconds: float = 20.0
    mode: str = ""
    seed: int | None = None


def drilled(wire: Wire, asked: Asked, tell: Callable[[str, int], None]) -> dict[str, Any]:
    """The certificate of a drill in files, or in schemas, of its own, which are gone afterwards; nothing of the user's
    is read or written. Raises InvalidSettingsError, InvalidPlanError, ConnectError before anything is made."""
    from tongqu.store.drills import Drills

    folder = Path(tempfile.mkdtemp(prefix="tongqu-drill-"))
    try:
        environ: dict[str, str] = {}
        source = _place(wire, asked.source, "source", folder, environ)
        sink = _place(wire, asked.sink, "sink", folder, environ)
        if source.kind == "duckdb":
            raise InvalidPlanError(
                "operations of many short transactions are not for a DuckDB file", path="--source", hint="sqlite"
            )
        mode = asked.mode or ("cdc" if source.follows else "incremental")
        if mode == "cdc" and not source.follows:
            raise InvalidPlanError(f"a drill cannot follow {source.kind}", path="--mode", hint="incremental")
        seed = asked.seed if asked.seed is not None else secrets.randbelow(1 << 31)
        wish = Wish(seed, asked.seconds, chosen(asked.faults, source, sink), mode, loaded=seed % 2 == 0)
        around = wire.surroundings
        document = Drill(
            folder, source, sink, wish, lambda: around.now().isoformat(timespec="seconds"), time.monotonic,
            wire.stop.wait, environ, tell,
        ).run()  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    store = Drills.open(wire.home)
    try:
        store.add(KEPT, document["began"], document)
    finally:
        store.close()
    return document


def chosen(names: Sequence[str], source: Place, sink: Place) -> list[Fault]:
    """The faults of these names (`all`, or none: all that are possible there); raises InvalidSettingsError."""
    found: list[Fault] = []
    for name in names:
        if name != "all" and name not in FAULTS:
            raise InvalidSettingsError(f"there is no fault {name!r}", path="--faults", hint=f"all, {', '.join(FAULTS)}")
        found += [FAULTS[name]] if name != "all" else []
    if not found or "all" in names:
        found = [fault for name, fault in FAULTS.items() if name != "none"]
    possible = [fault for fault in found if fault.possible(source, sink)]
    if not possible:
        raise InvalidSettingsError(
            f"{', '.join(names)} cannot be done to {source.kind} and {sink.kind}", path="--faults", hint="all"
        )
    return possible


def _place(wire: Wire, name: str, side: str, folder: Path, environ: dict[str, str]) -> Place:
    """A place of the kind that a connection is."""
    kind = "sqlite"
    if name not in ("", "sqlite", "duckdb"):
        end = wire.ends.end(name)
        kind = end.connector.name
        if kind == "postgres":
            variable = f"TONGQU_DRILL_{side.upper()}"
            place = PostgresPlace(
                _url(end.settings), f"tongqu_drill_{side}_{secrets.token_hex(4)}", f"${{env:{variable}}}"
            )
            environ[variable] = place.schema_url
            return place
    kind = name if name in ("sqlite", "duckdb") else kind
    if kind == "sqlite":
        return SqlitePlace(folder / f"{side}.db")
    if kind == "duckdb":
        return DuckdbPlace(folder / f"{side}.duckdb")
    raise InvalidPlanError(
        f"a drill cannot make a clone of {kind}", path=f"--{side}", hint="a connection to postgres, sqlite or duckdb"
    )


def _url(settings: Any) -> str:
    """The URL of a PostgreSQL connection with its password; it goes into the environment of children only."""
    if settings.network or settings.via:
        raise InvalidPlanError(
            "a drill goes straight to the server, and this connection goes another way", hint="drill beside the server"
        )
    url: str = settings.asyncpg_url()
    if settings.password is None:
        return url
    password = quote(settings.password.get_secret_value(), safe="")
    return url.replace("@", f":{password}@", 1) if "@" in url else url
