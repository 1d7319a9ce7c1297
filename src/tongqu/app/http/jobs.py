"""Jobs, schedules and comparisons: what waits, what runs when, and how the numbers agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Nothing, Operation
from tongqu.app.services.backfilling import Stretch
from tongqu.app.services.queueing import Queueing
from tongqu.app.services.reconciling import listed, shown
from tongqu.core.errors import UnknownNameError
from tongqu.core.settings import Names


class WhichJobs(Given):
    """Which jobs, the newest first."""

    state: Literal["", "open", "queued", "running", "paused", "done", "failed", "cancelled"] = ""
    """In this state; `open`: not over."""
    limit: int = Field(default=50, ge=1, le=1000)
    """At most so many."""


class OfJob(Given):
    """One job."""

    job: str
    """Its id or that of its run, or the beginning of one."""


class Queue(Given):
    """What is put into the queue."""

    pipelines: Names = Field(min_length=1)
    """Pipelines of the project."""
    full: bool = False
    """Everything again, whatever the mode."""
    restart: bool = False
    """Forget how far an unfinished run came."""


class Backfill(Given):
    """A stretch of a cursor that is loaded again."""

    pipeline: str
    """A pipeline with `mode: incremental`."""
    begin: str
    """From here, included: a time or a whole number."""
    end: str
    """To here, not included."""
    step: str = ""
    """The length of a window, `1d` or `100000`; everything at once unless said."""


class OfSchedule(Given):
    """One schedule."""

    name: str
    """A pipeline, or `reconcile.NAME`."""


class Upcoming(Given):
    """Which moments."""

    name: str = ""
    """Of one schedule; of all unless said."""
    count: int = Field(default=10, ge=1, le=1000)
    """So many of each."""


class OfEvent(Given):
    """Something that happened."""

    name: str
    """The event's name, as schedules write it under `on_event`."""


class OfEntry(Given):
    """One entry of `reconcile`."""

    name: str
    """Its name."""


def _budgets(asked: Asked, given: Nothing) -> Mapping[str, Any]:
    """Every connection whose use is bounded, and how it stands."""
    return asked.wire.governing.shown()


def _jobs(asked: Asked, given: WhichJobs) -> Mapping[str, Any]:
    """The newest jobs."""
    if not asked.wire.has_jobs():
        return {"jobs": []}
    return Queueing(asked.wire).jobs(given.state, given.limit)


def _job(asked: Asked, given: OfJob) -> Mapping[str, Any]:
    """One job with what came of it."""
    return Queueing(asked.wire).show(given.job)


def _queue(asked: Asked, given: Queue) -> Mapping[str, Any]:
    """Put pipelines into the queue; `serve` and `worker` take them from there."""
    return Queueing(asked.wire).queue(given.pipelines, full=given.full, restart=given.restart)


def _pause(asked: Asked, given: OfJob) -> Mapping[str, Any]:
    """Stop a job in order; it goes on there when it is resumed."""
    return Queueing(asked.wire).ask(given.job, "pause")


def _resume(asked: Asked, given: OfJob) -> Mapping[str, Any]:
    """Let a paused job go on."""
    return Queueing(asked.wire).ask(given.job, "resume")


def _cancel(asked: Asked, given: OfJob) -> Mapping[str, Any]:
    """End a job; what it committed stays."""
    return Queueing(asked.wire).ask(given.job, "cancel")


def _backfill(asked: Asked, given: Backfill) -> Mapping[str, Any]:
    """Load a stretch of the cursor again, in windows, each a job; the live cursor stays where it is."""
    return Queueing(asked.wire).backfill(given.pipeline, Stretch(given.begin, given.end, given.step))


def _schedules(asked: Asked, given: Given) -> Mapping[str, Any]:
    """Every schedule, with its next moment."""
    return Queueing(asked.wire).schedules()


def _next(asked: Asked, given: Upcoming) -> Mapping[str, Any]:
    """The next moments of schedules."""
    found = Queueing(asked.wire).schedules(given.count)["schedules"]
    wanted = [one for one in found if given.name in ("", one["name"])]
    if given.name and not wanted:
        raise UnknownNameError(f"there is no schedule {given.name!r}", path="name", params={"name": given.name})
    return {"schedules": wanted}


def _schedule(asked: Asked, given: OfSchedule) -> Mapping[str, Any]:
    """One schedule."""
    return _next(asked, Upcoming(name=given.name, count=1))["schedules"][0]  # type: ignore[no-any-return]  # a document


def _stop(asked: Asked, given: OfSchedule) -> Mapping[str, Any]:
    """Stop a schedule."""
    return Queueing(asked.wire).pause(given.name, paused=True)


def _go_on(asked: Asked, given: OfSchedule) -> Mapping[str, Any]:
    """Let a schedule go on with its next moment from now."""
    return Queueing(asked.wire).pause(given.name, paused=False)


def _trigger(asked: Asked, given: OfSchedule) -> Mapping[str, Any]:
    """Run something now, beside its schedule."""
    return Queueing(asked.wire).trigger(given.name)


def _event(asked: Asked, given: OfEvent) -> Mapping[str, Any]:
    """Tell of an event; all that waits for it begins."""
    return Queueing(asked.wire).event(given.name)


def _entries(asked: Asked, given: Given) -> Mapping[str, Any]:
    """What must hold the same rows, when it is compared, and how the last time ended."""
    return listed(asked.wire)


def _entry(asked: Asked, given: OfEntry) -> Mapping[str, Any]:
    """The newest comparison of an entry: its certificate, and the rows that differed."""
    return shown(asked.wire, given.name)


def _compare(asked: Asked, given: OfEntry) -> Mapping[str, Any]:
    """Put a comparison into the queue."""
    return Queueing(asked.wire).trigger(f"reconcile.{given.name}")


_JOB, _SCHEDULE, _ENTRY = "/jobs/{job}", "/schedules/{name}", "/reconcile/{name}"
OPERATIONS = (
    Operation("jobs.list", "GET", "/jobs", "look", _jobs, WhichJobs),
    Operation("jobs.show", "GET", _JOB, "look", _job, OfJob),
    Operation("jobs.queue", "POST", "/jobs", "run", _queue, Queue, status=202, about=("pipelines",)),
    Operation("jobs.pause", "POST", f"{_JOB}/pause", "run", _pause, OfJob, status=202),
    Operation("jobs.resume", "POST", f"{_JOB}/resume", "run", _resume, OfJob, status=202),
    Operation("jobs.cancel", "POST", f"{_JOB}/cancel", "run", _cancel, OfJob, status=202),
    Operation("jobs.backfill", "POST", "/backfills", "run", _backfill, Backfill, status=202, about=("pipeline",)),
    Operation("schedule.list", "GET", "/schedules", "look", _schedules, Nothing),
    Operation("schedule.next", "GET", "/moments", "look", _next, Upcoming),
    Operation("schedule.show", "GET", _SCHEDULE, "look", _schedule, OfSchedule),
    Operation("schedule.pause", "POST", f"{_SCHEDULE}/pause", "run", _stop, OfSchedule),
    Operation("schedule.resume", "POST", f"{_SCHEDULE}/resume", "run", _go_on, OfSchedule),
    Operation("schedule.trigger", "POST", f"{_SCHEDULE}/jobs", "run", _trigger, OfSchedule, status=202),
    Operation("schedule.event", "POST", "/events/{name}", "run", _event, OfEvent, status=202),
    Operation("budgets.list", "GET", "/budgets", "look", _budgets, Nothing),
    Operation("reconcile.list", "GET", "/reconcile", "look", _entries, Nothing),
    Operation("reconcile.show", "GET", _ENTRY, "rows", _entry, OfEntry),
    Operation("reconcile.compare", "POST", f"{_ENTRY}/jobs", "run", _compare, OfEntry, status=202),
)
