"""Finds how quarantined rows go in again: the stream they belong to, the steps that are left, the sink's way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa

from tongqu.app.project.load import Project
from tongqu.app.services.claims import Claims, unique_fields
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.piping import Part, RunRequest, parts
from tongqu.app.services.referring import knowing
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Dataset, Deletes, Write, WriteMode
from tongqu.core.errors import ConfigError, InvalidPlanError, UnknownNameError
from tongqu.core.operator import Operator
from tongqu.core.reentry import reentry
from tongqu.engine.forgetting import Forgetting
from tongqu.engine.replay import Follows, Way
from tongqu.engine.segment import Outcome
from tongqu.kit.originals import schema_of
from tongqu.kit.unsent import lacks_of

AT_SINK = ("sink", "write")
AT_SOURCE = ("read", "source")
"""What `step` says of rows that no step refused."""
_WAY = ("sync", "stream", "step", "shape")


@dataclass(frozen=True)
class Group:
    """Rows of one stream, step and shape, in the order of their arrival."""

    sync: str
    stream: str
    step: str
    shape: str
    rows: Sequence[Mapping[str, Any]]


def groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[Group]:
    """The rows in order, cut wherever the way in changes."""
    for way, some in groupby(rows, lambda row: [str(row.get(name) or "") for name in _WAY]):
        sync, stream, step, shape = way
        yield Group(sync, stream, step, shape, list(some))


@dataclass
class Ways:
    """The ways into one sink; what it opens is closed with it."""

    end: End
    sink: Sink
    project: Callable[[], Project]
    ends: Ends
    now: Callable[[], datetime]
    _open: ExitStack = field(default_factory=ExitStack)
    _found: dict[tuple[str, ...], tuple[Way, Operator | None]] = field(default_factory=dict)

    def close(self) -> None:
        """Release sources and databases; may be called twice."""
        self._open.close()

    def stale(self, group: Group) -> str | None:
        """The later run that read everything anew, if there is one: it makes what came before it worthless."""
        told = self._told(group)
        full = not told["incremental"] and told["mode"] != WriteMode.APPEND
        run = str(told["run"])
        return run if full and told["finished"] and any(row["run"] != run for row in group.rows) else None

    def follows(self, group: Group) -> bool:
        """Whether the rows are changes of a log, which go in one after the other by key."""
        told = self.sink.replaying(group.sync, group.stream)
        return bool(told.get("follows") and told.get("key"))

    def way(self, group: Group) -> tuple[Way, Operator | None]:
        """The way in, and the operator that refused the rows if it was a step. Raises ConfigError where there is none:
        the pipeline or step is gone, its steps need all rows, or a version before this one kept the rows."""
        known = (group.sync, group.stream, group.step, group.shape)
        if known not in self._found:
            self._found[known] = self._way(group)
        return self._found[known]

    def _told(self, group: Group) -> dict[str, Any]:
        told = self.sink.replaying(group.sync, group.stream)
        if not told or not group.shape:
            raise InvalidPlanError(
                f"it is not known how the rows of {group.stream!r} were written: another version kept them",
                path=group.stream,
                hint="run the sync or pipeline again; rows that it quarantines then can be replayed",
            )
        return told

    def _way(self, group: Group) -> tuple[Way, Operator | None]:
        told = self._told(group)
        shape = schema_of(group.shape)
        dataset, operator = Dataset(group.stream, shape.remove_metadata() if lacks_of(shape) else shape), None
        copies, needs, leaves = {name: name for name in dataset.columns}, set[str](), False
        through: Callable[[pa.Table], Outcome] | None = None
        if group.step not in AT_SINK and (told["recipe"] or group.step not in AT_SOURCE):
            part = self._part(group)
            step = None if group.step in AT_SOURCE else group.step
            plan, entry = reentry(knowing(part.plan, part.referred), step)
            if step is not None:
                found = plan.step(step)
                operator = found.operator if found else None
            chain = part.again(plan, entry, dataset, self._kept)
            if chain is not None:
                self._open.callback(chain.close)
                checks = {one.id: getattr(one.operator, "unique_fields", ()) for one in part.plan.steps}
                left = {one.id for one in chain.steps}
                fields = unique_fields(chain.lineage(), {id: names for id, names in checks.items() if id in left})
                dataset, through = chain.output, chain.run
                copies, needs = chain.copies(), chain.looks_at()
                leaves = bool(chain.filters) and part.writes.leaving == "delete" and part.fellow is None
                if fields:
                    key = tuple(told["key"] or ())
                    through = Claims.of(self.end, str(told["target"]), fields, key).guarded(chain.run)
        through = self._forgetting(group, str(told["target"]), dataset, through)
        write = self._write(group, told, dataset)
        follows = None
        if told.get("follows") and write.mode in (WriteMode.UPSERT, WriteMode.HISTORY):
            own = tuple(copies.get(name, "") for name in write.key)
            if all(own):
                follows = Follows(own, copies, needs, leaves and self.sink.removes(write))
        return Way(self.sink, write, shape, through, follows), operator

    def _forgetting(
        self, group: Group, target: str, made: Dataset, through: Callable[[pa.Table], Outcome] | None
    ) -> Callable[[pa.Table], Outcome] | None:
        """The way in without rows of persons who were erased after the rows were laid aside; `made` is what it gives.
        They are found by the fields of the target and, where the pipeline is still there, by those of its sources."""
        named = self.ends.persons()
        if not named:
            return through
        target_fields = self.ends.forgetting({"": named[target]}) if target in named else None
        found = [target_fields] if target_fields is not None else []
        try:
            steps = self._part(group).plan.steps
        except ConfigError:  # a sync, or a pipeline that is gone
            steps = ()
        found += [step.operator for step in steps if isinstance(step.operator, Forgetting)]
        if not found:
            return through

        def run(rows: pa.Table) -> Outcome:
            for operator in found:
                rows = operator.apply([rows], [Dataset(target, rows.schema)])
            if through is None:
                return Outcome(rows)
            return through(rows) if rows.num_rows else Outcome(made.schema.empty_table())

        return run

    def _write(self, group: Group, told: Mapping[str, Any], dataset: Dataset) -> Write:
        key = tuple(told["key"] or ())
        mode = WriteMode(told["mode"])
        if mode is WriteMode.REPLACE:
            mode = WriteMode.UPSERT if key else WriteMode.APPEND
        if mode not in self.sink.modes():
            mode = WriteMode.APPEND
        return Write(
            stream=group.stream,
            dataset=Dataset(str(told["target"]), dataset.schema, key=key),
            mode=mode,
            sync=hashlib.sha256(f"replay {group.sync}".encode()).hexdigest()[:32],
            run="",
            key=key,
            deletes=Deletes(told.get("deletes") or Deletes.IGNORE) if told.get("follows") else Deletes.IGNORE,
            incremental=True,
            started_at=self.now().isoformat(),
            cursor=told["cursor"],
            replay=True,
        )

    def _kept(self, source: Source) -> Source:
        self._open.callback(source.close)
        return source

    def _part(self, group: Group) -> Part:
        try:
            project = self.project()
        except ConfigError as error:
            if type(error) is not ConfigError:
                raise
            raise self._gone(group, "there is no project here") from None
        for name in project.pipelines:
            if group.stream == name or group.stream.startswith(f"{name}."):
                for part in parts(name, RunRequest((name,), full=True), project, self.ends):
                    mine = group.stream == part.stream or group.stream.startswith(f"{part.stream}.")
                    if mine and part.sink.identity == self.end.identity:
                        return part
        raise self._gone(group, "no pipeline of the project writes this stream into this sink")

    def _gone(self, group: Group, why: str) -> UnknownNameError:
        return UnknownNameError(
            f"the step {group.step!r} that refused rows of {group.stream!r} is not to be found: {why}",
            path=group.stream,
            hint="name the project with --project DIR, or the environment with --env NAME",
        )
