"""`sync`: moves data between two ends without a project file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tongqu.app.project.limits import share
from tongqu.app.project.places import nearest
from tongqu.app.services.apart import check_apart, same
from tongqu.app.services.ends import Ends
from tongqu.app.services.execution import Outcome, Run, Runner
from tongqu.app.services.flows import Names
from tongqu.app.services.following import check_follows
from tongqu.app.services.two_way_asked import check_one_way
from tongqu.core.connector import Can
from tongqu.core.data import Deletes, Lane, Mode, WriteMode
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, TongquError
from tongqu.core.schema_changes import SchemaChanges
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Limits, Stream


@dataclass(frozen=True)
class SyncRequest:
    """The arguments of `sync` as they were given; empty means the default of design §7."""

    source: str
    sink: str
    tables: Sequence[str] = ()
    mode: str = ""
    cursor: str = ""
    key: Sequence[str] = ()
    write: str = ""
    lane: str = ""
    deletes: str = ""
    schema_changes: str = ""
    restart: bool = False
    reload: Sequence[str] = ()
    until_caught_up: bool = False
    splits: int | None = None
    chunk_rows: int | None = None
    quarantined: str = ""
    command: str = "sync"


@dataclass(frozen=True)
class Settled:
    """The request in the engine's words."""

    mode: Mode
    write: WriteMode | None
    lane: Lane | None
    deletes: Deletes
    schema_changes: SchemaChanges
    key: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def settle(request: SyncRequest, *, knows: bool = False) -> Settled:
    """Check the arguments alone; raises InvalidSettingsError or InvalidPlanError (exit 2). `knows`: the source may know
    by itself what is new, or which cursor tells."""
    mode = Mode(_choice("--mode", request.mode or Mode.FULL, Mode))
    if mode is Mode.INCREMENTAL and not request.cursor and not knows:
        raise InvalidPlanError(
            "mode incremental needs a cursor: a column that grows with every change",
            path="--cursor",
            hint="name it, and the tables that have it: --cursor updated_at --table orders",
        )
    follows = mode in (Mode.CDC, Mode.STREAM)
    if request.until_caught_up and not follows:
        raise InvalidPlanError(
            "only what follows a log can catch up with it", path="--until-caught-up", hint="add --mode cdc or stream"
        )
    if mode is not Mode.INCREMENTAL and request.cursor:
        raise InvalidPlanError(
            "a cursor is only used with mode incremental", path="--cursor", hint="add --mode incremental"
        )
    write = WriteMode(_choice("--write", request.write, WriteMode)) if request.write else None
    if write is None and mode is Mode.FULL:
        write = WriteMode.REPLACE
    if write is WriteMode.REPLACE and mode is not Mode.FULL:
        what = "a log" if follows else "an incremental read"
        raise InvalidPlanError(
            f"{what} cannot replace the target: rows that did not change would be lost",
            path="--write",
            hint="valid: upsert, append, history",
        )
    usual = Deletes.HARD if mode is Mode.CDC and write is not WriteMode.APPEND else Deletes.IGNORE
    deletes = Deletes(_choice("--deletes", request.deletes or usual, Deletes))
    if deletes is not Deletes.IGNORE and mode not in (Mode.FULL, Mode.CDC):
        hint = "use --mode full, or --mode cdc, which follows them"
        raise InvalidPlanError("deletes are found by full reads only", path="--deletes", hint=hint)
    if follows and request.lane:
        raise InvalidPlanError(f"mode {mode} has one lane: columnar", path="--lane", hint="leave --lane out")
    changes = SchemaChanges(_choice("--schema-changes", request.schema_changes or SchemaChanges.EVOLVE, SchemaChanges))
    for name, number in (("--splits", request.splits), ("--chunk-rows", request.chunk_rows)):
        if number is not None and number < 1:
            raise InvalidSettingsError(f"{name} is at least 1 (got {number})", path=name)
    lane = Lane(_choice("--lane", request.lane, Lane)) if request.lane else None
    return Settled(mode, write, lane, deletes, changes, columns(request.key), _limits(request))


def columns(keys: Sequence[str]) -> tuple[str, ...]:
    """Key columns from repeated options and comma lists."""
    found = tuple(part.strip() for key in keys for part in key.split(",") if part.strip())
    if len(set(found)) != len(found):
        raise InvalidSettingsError(f"a column stands twice in the key: {', '.join(found)}", path="--key")
    return found


def sync(request: SyncRequest, ends: Ends, run: Runner, new_id: Callable[[], str]) -> Outcome:
    """Move the tables; raises ConfigError before any connection if the arguments are wrong."""
    source_end, sink_end = ends.end(request.source), ends.end(request.sink)
    check_one_way(request.mode, (source_end, sink_end), (request.source, request.sink), request.tables)
    settled = settle(request, knows=bool((Can.TRACKS | Can.CURSORS) & source_end.connector.can))
    check_follows(source_end.connector, settled.mode, "--mode")
    kept = (sink_end.kept,) if sink_end.kept else ()

    wanted = Wanted(
        tables=tuple(request.tables),
        mode=settled.mode,
        write=settled.write,
        key=settled.key,
        cursor=request.cursor or None,
        lane=settled.lane,
        deletes=settled.deletes,
        schema_changes=settled.schema_changes,
    )

    def plan() -> Job:
        source, sink = run.keep(source_end.source()), run.keep(sink_end.sink())
        sink.prepare()
        absent: dict[str, TongquError] = {}
        streams = plan_sync(
            source,
            sink,
            source_id=source_end.identity,
            sink_id=sink_end.identity,
            wanted=wanted,
            absent=absent,
        )
        if same(source_end, sink_end):
            check_apart(streams)
        streams = [_guarded(stream, ends) for stream in streams]
        return Job(
            streams,
            restart=request.restart,
            reload=request.reload,
            absent=absent,
            limits=settled.limits,
            until_caught_up=request.until_caught_up,
            run=new_id(),
        )

    names = Names({"source": source_end.name}, sink_end.name)
    return run.execute(Run("sync", request.command, kept, names), plan)


def _guarded(stream: Stream, ends: Ends) -> Stream:
    """The stream without rows that its source says were deleted, which leave the target, and without rows of erased
    persons, by what the dictionary says of what is read or written. Raises InvalidPlanError where they would stay."""
    from tongqu.app.services.removing import check_removals, removals

    named = ends.persons()
    fields = {**named.get(stream.target, {}), **named.get(stream.source_dataset.name, {})}
    operator = ends.forgetting({"": fields}) if fields else None
    steps = removals(stream)
    if operator is not None:
        from tongqu.core.operator import Step

        steps.append(Step("erased", "forget", operator, (), ""))
    if not steps:
        return stream
    from tongqu.engine.chain import Chain

    guarded = replace(stream, chain=Chain(stream.source_dataset, steps))
    check_removals(guarded)
    return guarded


def _choice(option: str, value: str, valid: type[StrEnum]) -> str:
    names = [str(item.value) for item in valid]
    if value not in names:
        raise InvalidSettingsError(
            f"{option}: {value!r} is not one of the values allowed",
            path=option,
            hint=nearest(value, names),
            params={"key": option, "valid": ", ".join(names)},
        )
    return value


def _limits(request: SyncRequest) -> Limits:
    try:
        count, part = share(request.quarantined or None)
    except ValueError:
        raise InvalidSettingsError(
            f"--max-quarantined: {request.quarantined!r} is neither a count nor a share",
            path="--max-quarantined",
            hint="for example 100 or 1%",
        ) from None
    default = Limits()
    return Limits(
        chunk_rows=request.chunk_rows or default.chunk_rows,
        splits=request.splits,
        quarantined=count,
        quarantined_share=part,
    )
