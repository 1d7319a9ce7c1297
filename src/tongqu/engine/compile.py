"""Turns "these tables from here to there" into streams: names, modes, keys, order, and the sync's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from tongqu.core.connector import Sink, Source
from tongqu.core.data import Dataset, Deletes, Lane, Mode, WriteMode
from tongqu.core.errors import InvalidPlanError, NotFoundError, SchemaError, TongquError, learnt
from tongqu.core.schema_changes import SchemaChanges
from tongqu.engine.job import Stream
from tongqu.kit.ledger import PREFIX
from tongqu.kit.patterns import nearest

_ADDING = (WriteMode.APPEND, WriteMode.UPSERT)
"""Write modes by which several streams can fill one target."""


@dataclass(frozen=True)
class Wanted:
    """What a person asked a sync to do; None means the default of design §7."""

    tables: tuple[str, ...] = ()
    mode: Mode = Mode.FULL
    write: WriteMode | None = None
    key: tuple[str, ...] = ()
    cursor: str | None = None
    lane: Lane | None = None
    deletes: Deletes = Deletes.IGNORE
    schema_changes: SchemaChanges = SchemaChanges.EVOLVE
    """No part of a sync's identity: the next run may be more tolerant."""
    options: dict[str, Any] = field(default_factory=dict)


def sync_id(source_id: str, sink_id: str, wanted: Wanted) -> str:
    """The identity of a sync: the same source, target, tables, mode, write, key and cursor resume each other."""
    parts = [source_id, sink_id, sorted(wanted.tables), wanted.mode.value, wanted.write and wanted.write.value,
             list(wanted.key), wanted.cursor, wanted.deletes.value, wanted.options]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def plan_sync(
    source: Source, sink: Sink, *, source_id: str, sink_id: str, wanted: Wanted,
    absent: dict[str, TongquError] | None = None,
) -> list[Stream]:  # fmt: skip
    """One stream per dataset, parents of foreign keys first.

    Raises NotFoundError for a table that is not there, InvalidPlanError for a combination that cannot work; where a log
    is followed such a table is put into `absent` with its error, if that is given and others are left.
    """
    left = absent if wanted.mode is Mode.CDC else None
    if wanted.write is not None:
        _check_write(sink, wanted.write, "--write")
    names = _names(wanted.tables)
    sync = sync_id(source_id, sink_id, wanted)
    with learnt():
        found = source.datasets(list(names) or None)
        _all_found(source, names, found, left)
        making = partial(_stream, source, sink, names=names, sync=sync, wanted=wanted)
        streams = _those_that_can(found, making, left)
        check_targets(streams)
        streams = _parents_first(streams)

    def checked(stream: Stream) -> Stream:
        check_followed(stream, wanted.write)
        return stream

    return _those_that_can(streams, checked, left)


T = TypeVar("T", Dataset, Stream)


def _those_that_can(
    some: Sequence[T], make: Callable[[T], Stream], absent: dict[str, TongquError] | None
) -> list[Stream]:
    """The streams that can be made; why the others cannot is in `absent`, or raised if that is None or none is left."""
    made = []
    for one in some:
        try:
            made.append(make(one))
        except TongquError as error:
            if absent is None or len(some) == 1:
                raise
            absent[one.name] = error
    if absent and not made:
        raise next(iter(absent.values()))
    return made


def check_targets(streams: Sequence[Stream]) -> None:
    """Refuse two streams that would write over each other: into names the sink does not tell apart, or into the same
    name where one of them replaces, closes or deletes what the other wrote. Raises InvalidPlanError."""
    known: dict[tuple[int, str], Stream] = {}
    for stream in streams if len(streams) > 1 else ():
        first = known.setdefault((id(stream.sink), stream.sink.identity(stream.target)), stream)
        adding = all(s.write in _ADDING and s.deletes is Deletes.IGNORE for s in (first, stream))
        if first is not stream and not (adding and first.target == stream.target):
            raise InvalidPlanError(
                f"{first.source_dataset.name!r} and {stream.source_dataset.name!r} would both be written to "
                f"{stream.target!r}",
                path=stream.name,
                hint=f"give one another name: --table '{stream.source_dataset.name}=NAME'; several files need a folder",
            )


def _check_write(sink: Sink, write: WriteMode, path: str) -> None:
    if write not in sink.modes():
        raise InvalidPlanError(
            f"this target cannot be written with {write.value!r}",
            path=path,
            hint=f"it can: {', '.join(mode.value for mode in sink.modes())}",
        )


def _names(tables: Sequence[str]) -> dict[str, str | None]:
    """The tables asked for, each with the target it was given."""
    names: dict[str, str | None] = {}
    for name, target in map(_target_of, tables):
        if names.setdefault(name, target) != target:
            raise InvalidPlanError(
                f"{name!r} is named twice, for two targets", path="--table", hint="sync it a second time instead"
            )
    return names


def _target_of(text: str) -> tuple[str, str | None]:
    """`[schema.]table[=target]` taken apart."""
    name, equals, target = text.partition("=")
    if target.rpartition(".")[2].startswith(PREFIX):
        raise InvalidPlanError(f"names that begin with {PREFIX} are Tongqu's own tables", path="--table")
    if equals and not target:
        raise InvalidPlanError(f"{text!r} names no target", path="--table", hint=f"for example {name}=new_name")
    return name, target or None


def _all_found(
    source: Source, names: dict[str, str | None], found: Sequence[Dataset], absent: dict[str, TongquError] | None
) -> None:
    if not found and not names:
        raise NotFoundError("the source has no tables", hint="check the database and schema of the source's URL")
    there = {dataset.name for dataset in found}
    for name, target in names.items():
        glob = any(sign in name for sign in "*?[!")
        if target is not None and glob:
            raise InvalidPlanError(f"a glob cannot be renamed: {name}={target}", hint="name one table before the =")
        if not glob and name not in there and not any(d.endswith(f".{name}") or name.endswith(f".{d}") for d in there):
            known = [dataset.name for dataset in source.datasets(None)]
            error = NotFoundError(
                f"there is no table {name!r} in the source",
                hint=f"similar or present: {nearest(name, known) or 'none'}",
                params={"name": name},
            )
            if absent is None or not found:
                raise error
            absent[name] = error
    if not found:
        raise NotFoundError(f"no table matches {', '.join(names)}", hint="a glob is quoted in the shell: --table 'a_*'")


def _stream(
    source: Source, sink: Sink, dataset: Dataset, *, names: dict[str, str | None], sync: str, wanted: Wanted
) -> Stream:
    if dataset.unsupported:
        raise SchemaError(
            f"{dataset.name!r} has columns that cannot be read: {', '.join(dataset.unsupported)}",
            path=dataset.name,
            hint="leave them out with a select step",
        )
    key = wanted.key or dataset.key
    unknown = [name for name in wanted.key if name not in dataset.columns]
    if unknown:
        raise NotFoundError(
            f"{dataset.name!r} has no column {unknown[0]!r} to be the key",
            path=dataset.name,
            hint=f"columns: {', '.join(dataset.columns)}",
        )
    cursor = cursor_of(dataset, wanted.mode, wanted.cursor, tracks=source.tracks)
    write = wanted.write or default_write(wanted.mode, key)
    _check_write(sink, write, dataset.name)
    if write in (WriteMode.UPSERT, WriteMode.HISTORY) and not key:
        raise InvalidPlanError(
            f"write mode {write.value!r} needs a key and {dataset.name!r} has none",
            path=dataset.name,
            hint=f"name it with --key; columns: {', '.join(dataset.columns)}",
        )
    deletes = wanted.deletes if key or wanted.mode is not Mode.CDC else Deletes.IGNORE
    check_deletes(write, deletes, dataset.name)
    return Stream(
        name=dataset.name,
        source=source,
        source_dataset=dataset,
        sink=sink,
        target=_renamed(dataset.name, names) or dataset.name,
        mode=wanted.mode,
        write=write,
        sync=sync,
        key=tuple(key),
        cursor=cursor,
        deletes=deletes,
        schema_changes=wanted.schema_changes,
        lane=wanted.lane,
    )


def _renamed(name: str, names: dict[str, str | None]) -> str | None:
    """The target that was asked for a dataset, named with or without its schema."""
    if name in names:
        return names[name]
    return next((target for asked, target in names.items() if asked.endswith(f".{name}")), None)


def check_deletes(write: WriteMode, deletes: Deletes, path: str) -> None:
    """Refuse a handling of deletes that the write mode cannot keep. Raises InvalidPlanError."""
    if deletes is Deletes.IGNORE or write in (WriteMode.UPSERT, WriteMode.HISTORY):
        return
    if write is WriteMode.APPEND or deletes is Deletes.SOFT:
        raise InvalidPlanError(
            f"write mode {write.value!r} cannot handle deletes as {deletes.value!r}",
            path=path,
            hint="use --write upsert or history; a replace leaves out what the source no longer has by itself",
        )


def cursor_of(dataset: Dataset, mode: Mode, given: str | None, *, tracks: bool = False) -> str | None:
    """The cursor of an incremental read: what was given, or else what the dataset's own settings declare; None for a
    full read, and for a source that `tracks` and was given none. Raises InvalidPlanError naming the candidates, or
    NotFoundError."""
    if mode is not Mode.INCREMENTAL or (tracks and given is None):
        return None
    cursor = given or dataset.cursor
    if cursor is None:
        raise InvalidPlanError(
            f"mode 'incremental' needs a cursor and none was given for {dataset.name!r}",
            path=dataset.name,
            hint=f"name a column that grows with every change: --cursor {_candidates(dataset) or 'COLUMN'}",
        )
    if cursor not in dataset.columns:
        raise NotFoundError(
            f"{dataset.name!r} has no column {cursor!r} to be the cursor",
            path=dataset.name,
            hint=f"columns: {', '.join(dataset.columns)}",
        )
    return cursor


def _candidates(dataset: Dataset) -> str:
    import pyarrow as pa

    fits = [f.name for f in dataset.schema if pa.types.is_timestamp(f.type)]
    return " or ".join(fits)


def check_followed(stream: Stream, asked: WriteMode | None) -> None:
    """Refuse to follow changes of rows that nothing tells apart, unless every change was `asked` to be kept. Raises
    InvalidPlanError."""
    keyed = stream.key or stream.source_dataset.key
    if stream.mode is Mode.CDC and not keyed and asked is not WriteMode.APPEND:
        raise InvalidPlanError(
            f"{stream.source_dataset.name!r} has no key by which its changes could be followed",
            path=stream.name,
            hint="give it a primary key, name one with --key, or keep every change: --write append",
        )


def default_write(mode: Mode, key: Sequence[str]) -> WriteMode:
    """`replace` for full, else `upsert` when a key is known, else `append`."""
    if mode is Mode.FULL:
        return WriteMode.REPLACE
    return WriteMode.UPSERT if key else WriteMode.APPEND


def _parents_first(streams: list[Stream]) -> list[Stream]:
    """Foreign-key order; members of a cycle stay in name order."""
    by_name = {stream.name: stream for stream in streams}
    done: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in done or name in path or name not in by_name:
            return
        for foreign in by_name[name].source_dataset.foreign_keys:
            visit(foreign.target, (*path, name))
        done[name] = None

    for stream in streams:
        visit(stream.name, ())
    return [by_name[name] for name in done]
