"""`quarantine replay`: puts mended rows in again, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Event
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.ends import Ends
from tongqu.app.services.quarantine import distinct, missing, opened
from tongqu.app.services.queued_changes import Queued, queued
from tongqu.app.services.reentering import Group, Ways, groups
from tongqu.core.connector import Sink
from tongqu.core.data import Counts
from tongqu.core.dirty import OPEN, REPLAYED, STILL_BAD, SUPERSEDED, Dirty, Fix, Settled
from tongqu.engine.replay import Entry, Replayed, Way, replay

_MOST = 200_000
"""Rows that are taken up by one call."""


@dataclass
class Replaying:
    """What a replay is given, and what it does to all sinks together."""

    project: Callable[[], Project]
    ends: Ends
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    stop: Event
    counts: Counts = field(default_factory=Counts)
    rows: list[dict[str, Any]] = field(default_factory=list)
    replayed: int = 0
    still_bad: int = 0
    superseded: int = 0
    waiting: int = 0
    more: bool = False

    def run(self, where: Sequence[str], which: Dirty) -> dict[str, Any]:
        """Replay the rows that are meant in all these sinks; the document of design §7, with the rows that did not go
        in and their causes. Raises NotFoundError for an id that no sink knows."""
        wanted = replace(which, arrival=True, limit=_MOST, states=which.states or ("fixed",))
        known: set[str] = set()
        for end in distinct(where, self.ends):
            with opened(end) as sink:
                if sink is None:
                    continue
                known |= {str(row["id"]) for row in sink.dirty(Dirty(ids=which.ids))} if which.ids else set()
                ways = Ways(end, sink, self.project, self.ends, self.now)
                try:
                    self._sink(sink, ways, wanted)
                finally:
                    ways.close()
        lost = [id for id in which.ids if id not in known]
        if lost:
            raise missing(lost[0], where)
        return self.document()

    def document(self) -> dict[str, Any]:
        """The numbers so far."""
        c = self.counts
        return {
            "fixed": 0,
            "replayed": self.replayed,
            "written": c.written,
            "still_bad": self.still_bad,
            "superseded": self.superseded,
            "waiting": self.waiting,
            "inserted": c.inserted,
            "updated": c.updated,
            "unchanged": c.unchanged,
            "merged": c.merged,
            "more": self.more,
            "rows": self.rows,
        }

    def _sink(self, sink: Sink, ways: Ways, which: Dirty) -> None:
        found = [row for row in sink.dirty(which) if row["state"] in OPEN]
        self.more = self.more or len(found) == _MOST
        changes, others = queued(sink, ways, which, found)
        for arrived in groups(others):
            if self.stop.is_set():
                return
            group = self._not_stale(sink, ways, arrived)
            if group.rows:
                self._group(ways.way(group)[0], group)
        for one in changes:
            self._changes(ways, one)

    def _changes(self, ways: Ways, changes: Queued) -> None:
        """Changes of a log, each key's in their order: what comes behind one that is refused again stays."""
        last = self.now()
        for round in changes.rounds():
            if self.stop.is_set():
                return
            last = max(self.now(), last + timedelta(microseconds=1))  # of a history each version begins later
            for group in round:
                way = ways.way(group)[0]
                dated = replace(way, write=replace(way.write, started_at=last.isoformat(timespec="microseconds")))
                gone = {one.id for one in self._group(dated, group).settled if one.state == REPLAYED}
                for id in {str(row["id"]) for row in group.rows} - gone:
                    changes.held(id)
        self.waiting += changes.waiting

    def _group(self, way: Way, group: Group) -> Replayed:
        entries = [Entry(str(row["id"]), str(row["fixed"] or row["original"])) for row in group.rows]
        done = replay(way, entries, self.new_id, self.stop)
        self.counts.add(done.counts)
        self.replayed += done.count(REPLAYED)
        self._note(done.settled, group)
        return done

    def _not_stale(self, sink: Sink, ways: Ways, group: Group) -> Group:
        """The group without rows of runs before the last, where that read everything anew."""
        run = ways.stale(group)
        if run is None:
            return group
        old = [row for row in group.rows if row["run"] != run]
        sink.fix([Fix(str(row["id"]), SUPERSEDED, None, str(row["history"] or "[]")) for row in old])
        words = f"the run {run} has read all rows anew since; what is bad in it is quarantined under it"
        self._note([Settled(str(row["id"]), SUPERSEDED, "data.superseded", "", None, words) for row in old], group)
        return replace(group, rows=[row for row in group.rows if row["run"] == run])

    def _note(self, settled: Sequence[Settled], group: Group) -> None:
        for one in settled:
            if one.state == REPLAYED:
                continue
            self.still_bad += one.state == STILL_BAD
            self.superseded += one.state == SUPERSEDED
            cause = {"code": one.code, "field": one.field, "value": one.value, "message": one.message}
            self.rows.append({"id": one.id, "stream": group.stream, "state": one.state, **cause})
