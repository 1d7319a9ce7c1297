"""The budgets of a project's connections: valves for runs, and how they stand for people and metrics."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from tongqu.core.connector import Source
from tongqu.core.errors import TongquError
from tongqu.core.feeling import STEADY, Feeling, Felt
from tongqu.engine.governing import Allowed, Valve, Valves
from tongqu.store.jobs.budgets import Budgets, State

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.project.rules import ConnectionRules
    from tongqu.app.wire import Wire
    from tongqu.gateway.metrics.measures import Metrics

_GAUGES = (
    ("rate", "tongqu_budget_rate", "Rows a second that pipelines may pass through a connection that adapts"),
    ("passing", "tongqu_budget_passing", "Rows a second that pipelines pass through a connection with a budget"),
    ("pressure", "tongqu_budget_pressure", "How a connection bears its load; over 1 is more than it should feel"),
    ("slots", "tongqu_budget_splits", "Splits that are moved through a connection with a budget"),
)


@dataclass(frozen=True)
class Governing:
    """The connections of a project that have a budget (`max_splits`, `max_rate`, `quiet`, `adapt`)."""

    wire: Wire

    def valves(self, names: Sequence[str]) -> Valves:
        """One valve for each of these connections that has a budget; close them. Raises ConnectError."""
        if not (self.wire.folder / "tongqu.yaml").is_file() and "project" not in vars(self.wire):
            return Valves()
        project = self.wire.project
        found = {name: project.rules[name] for name in names if name in project.rules and project.rules[name].governed}
        if not found:
            return Valves()
        stack = ExitStack()
        jobs = self.wire.jobs()
        stack.callback(jobs.close)
        budgets = Budgets(jobs.database, self._place(project))
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        several = [
            Valve(
                name, allowed(rules, zone_of(project)), budgets, holder, lambda: datetime.now(UTC),
                self._feeling(name, stack) if rules.adapt else None,
            )
            for name, rules in found.items()
        ]  # fmt: skip
        return Valves(several, stack.close)

    def shown(self) -> dict[str, Any]:
        """Every connection with a budget: its bounds, and how it stands."""
        project = self.wire.project
        states = self.states()
        now = datetime.now(UTC)
        return {
            "budgets": [
                {
                    "connection": name,
                    "max_splits": rules.max_splits,
                    "max_rate": rules.max_rate,
                    "quiet": list(rules.quiet),
                    "quiet_now": rules.quieted(zone_of(project))(now),
                    "adapts": rules.adapt is not None,
                    "rate": round(states[name].rate) or None,
                    "passing": round(states[name].passing),
                    "pressure": round(states[name].pressure, 3),
                    "usual_ms": round(states[name].usual * 1000, 3),
                    "splits": states[name].slots,
                    "processes": states[name].holders,
                }
                for name, rules in sorted(project.rules.items())
                if rules.governed
            ],
            "alternatives": [
                {"connection": name, "alternative": other, "times": times}
                for (name, other), times in self.taken().items()
            ],
        }

    def states(self) -> dict[str, State]:
        """How each connection with a budget stands; looking makes nothing."""
        names = [name for name, rules in self.wire.project.rules.items() if rules.governed]
        with self._budgets() as budgets:
            return {name: budgets.state(name) if budgets else State() for name in names}

    def taken(self) -> dict[tuple[str, str], int]:
        """How often an alternative was read instead of a connection; looking makes nothing."""
        with self._budgets() as budgets:
            return budgets.taken() if budgets and any(r.alternatives for r in self.wire.project.rules.values()) else {}

    def took(self, others: Mapping[str, str]) -> None:
        """Count the alternatives that a run reads; a store that cannot be reached keeps no run from its rows."""
        with suppress(TongquError):
            jobs = self.wire.jobs()
            try:
                budgets = Budgets(jobs.database, self._place(self.wire.project))
                for name, other in others.items():
                    budgets.took(name, other)
            finally:
                jobs.close()

    @contextmanager
    def _budgets(self) -> Iterator[Budgets | None]:
        if not self.wire.has_jobs():
            yield None
            return
        jobs = self.wire.jobs()
        try:
            yield Budgets(jobs.database, self._place(self.wire.project))
        finally:
            jobs.close()

    def _place(self, project: Project) -> str:
        return f"{project.name}/{self.wire.env}"

    def _feeling(self, name: str, stack: ExitStack) -> _Feeler:
        feeler = _Feeler(self.wire.ends.end(name).source)
        stack.callback(feeler.close)
        return feeler


class _Feeler:
    """Asks a connection how it does, over a source of its own; one that cannot be asked is always well."""

    def __init__(self, opens: Any):
        self._opens = opens
        self._source: Source | None = None
        self._lock = Lock()

    def __call__(self, between: Callable[[], object]) -> Feeling:
        with self._lock:
            if self._source is None:
                self._source = self._opens()
            return self._source.feel(between) if isinstance(self._source, Felt) else STEADY

    def close(self) -> None:
        with self._lock:
            if self._source is not None:
                self._source.close()
                self._source = None


def show_budgets(wire: Wire, project: Project, metrics: Metrics) -> None:
    """Show how connections with a budget stand among the metrics; looked up again when a second is over."""
    known: dict[str, State] = {}
    looked = 0.0

    def number(name: str, what: str) -> float:
        nonlocal known, looked
        if monotonic() - looked >= 1.0:
            looked = monotonic()
            with suppress(TongquError):
                known = Governing(wire).states()
        return float(getattr(known.get(name, State()), what))

    def times(name: str, other: str) -> float:
        with suppress(TongquError):
            return float(Governing(wire).taken().get((name, other), 0))
        return 0.0

    for name, rules in project.rules.items():
        for other in rules.alternatives:
            told = "Runs that read an alternative instead of a connection"
            metrics.gauge("tongqu_alternative_runs", told, partial(times, name, other), connection=name, other=other)
        for what, gauge, help in _GAUGES if rules.governed else ():
            metrics.gauge(gauge, help, partial(number, name, what), connection=name)


def allowed(rules: ConnectionRules, zone: tzinfo) -> Allowed:
    """A connection's rules in the engine's words."""
    adapt = rules.adapt
    return Allowed(
        splits=rules.max_splits,
        rate=rules.max_rate,
        adapts=adapt is not None,
        latency=adapt.latency if adapt else 1.1,
        lag_seconds=adapt.lag_seconds if adapt else 10.0,
        quiet=rules.quieted(zone),
    )


def zone_of(project: Project) -> tzinfo:
    """The time zone of the project's times of day."""
    from tongqu.app.services.timing import local_zone

    return ZoneInfo(project.running.timezone) if project.running.timezone else local_zone()
