"""What a project has to run: each pipeline, reconcile entry and two-way sync as the jobs that it makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.app.project.connections import connector_of
from tongqu.app.project.load import Project
from tongqu.app.project.model import PipelineSink, PipelineSource
from tongqu.app.project.schedules import ScheduleEntry, seconds
from tongqu.core.errors import ConfigError, UnknownNameError
from tongqu.store.jobs.job import Limits, Work

LOCAL = ("duckdb", "sqlite", "file")
"""Connectors whose data are files of one host."""
RECONCILE = "reconcile."
"""What stands before the names of reconcile entries where pipelines have names too."""
TWO_WAY = "sync."
"""The same for two-way syncs."""
_BEFORE = {"run": "", "reconcile": RECONCILE, "twoway": TWO_WAY}


@dataclass(frozen=True)
class Task:
    """One thing to run. `kept`: it has no end (`mode: cdc` or `stream`)."""

    name: str
    kind: str
    subject: str
    place: str
    schedule: ScheduleEntry | None
    connections: tuple[str, ...]
    pinned: bool
    kept: bool
    digest: str

    def work(self, new_id: Callable[[], str], *, due: float = 0.0, tick: float = 0.0, **more: Any) -> Work:
        """A job of it; `more` are options of the run (`full`, `window`)."""
        told = self.schedule
        window = more.get("window")
        again = f":{tick}" if told and told.catch_up == "all" and tick else ""
        named = f"{self.name}{again}{json.dumps(more, sort_keys=True) if more else ''}"
        return Work(
            id=new_id(),
            kind=self.kind,
            subject=self.subject,
            place=self.place,
            writer=f"{self.place}:{self.name}",
            dedup=f"{'kept' if self.kept and not window else 'next'}:{named}",
            connections=self.connections,
            priority=told.priority if told else 0,
            due=due,
            retries=told.retries if told else 3,
            timeout=seconds(told.timeout) if told and told.timeout else 0.0,
            pinned=self.pinned,
            kept=self.kept and not window,
            spec={**more, "digest": self.digest},
            schedule=self.name if tick else "",
            tick=tick,
        )


@dataclass(frozen=True)
class Tasks:
    """All tasks of a project, by name, and how many may run at a time."""

    project: Project
    place: str
    named: Mapping[str, Task] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, project: Project, env: str) -> Tasks:
        """The tasks of a project in an environment."""
        place = f"{project.name}/{env}"
        found: dict[str, Task] = {}
        for name, entry in project.pipelines.items():
            ends: tuple[PipelineSource | PipelineSink, ...]
            ends = (*entry.all_sources.values(), *entry.all_sinks.values())
            used = (end.connection for end in ends)
            found[name] = _task(project, name, "run", place, used, kept=entry.endless)
        for name, told in project.reconcile.items():
            both = (told.left.connection, told.right.connection)
            found[RECONCILE + name] = _task(project, name, "reconcile", place, both)
        for name, sync in project.sync.items():
            always = sync.mode == "cdc" and sync.schedule is None
            ends_of = (side.connection for side in sync.between)
            found[TWO_WAY + name] = _task(project, name, "twoway", place, ends_of, kept=always)
        most = dict(project.running.connections)
        for name, values in project.connections.items():
            if _type(values) == "duckdb":
                most.setdefault(name, 1)  # one process has such a file open at a time
        return cls(project, place, found, Limits(project.running.max_runs, most))

    def task(self, name: str) -> Task:
        """The task of that name; raises UnknownNameError."""
        if name not in self.named:
            raise UnknownNameError(
                f"there is no pipeline, reconcile or sync entry {name!r}", path=name, params={"name": name},
                hint=f"valid: {', '.join(sorted(self.named))}",
            )  # fmt: skip
        return self.named[name]

    def scheduled(self) -> list[Task]:
        """Those that something starts by itself, and those that never end."""
        return [task for task in self.named.values() if task.schedule is not None or task.kept]


def _task(
    project: Project, name: str, kind: str, place: str, connections: Iterable[str], *, kept: bool = False
) -> Task:
    entries: Mapping[str, Mapping[str, Any]] = {
        "run": project.pipelines, "reconcile": project.reconcile, "twoway": project.sync
    }  # fmt: skip
    entry: Any = entries[kind][name]
    used = tuple(sorted(set(connections)))
    told = json.dumps([entry.model_dump(mode="json"), [project.connections.get(one) for one in used]], default=str)
    return Task(
        name=_BEFORE[kind] + name,
        kind=kind,
        subject=name,
        place=place,
        schedule=entry.schedule,
        connections=used,
        pinned=any(_local(project.connections.get(one)) for one in used),
        kept=kept,
        digest=hashlib.sha256(told.encode()).hexdigest()[:16],
    )


def _type(values: Any) -> str:
    try:
        return connector_of(values).name if isinstance(values, Mapping) else ""
    except ConfigError:
        return ""


def _local(values: Any) -> bool:
    """Whether a connection is a file of this host."""
    if _type(values) != "file":
        return _type(values) in LOCAL
    return "address" not in values and str(values.get("url", "file:")).startswith("file:")
