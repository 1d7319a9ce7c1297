"""Follows the logs of sources: the first load, then changes or messages as they come, until stopped or caught up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from threading import Event, Thread

from tongqu.core.data import Mode, Started
from tongqu.core.errors import TongquError
from tongqu.core.events import Emit
from tongqu.core.turns import short_turns
from tongqu.engine.following.job import Asked, Group, fail
from tongqu.engine.following.log import Follower
from tongqu.engine.following.opening import NeverBegunError
from tongqu.engine.job import Job, Stream, Surroundings
from tongqu.engine.report import Report, StreamReport


def follow(job: Job, emit: Emit, around: Surroundings, load: Callable[[Job, Emit], Report]) -> Report:
    """Run a job whose streams follow logs; `load` runs a job of full reads. Raises nothing that a stream met: it is in
    its report, and the others go on; but why a stream is absent (`Job.absent`) if none of them was ever begun."""
    asked = Asked(job, emit, around)
    asked.run = job.run or around.new_id()
    first = job.streams[0]
    reports = [StreamReport(s.name, s.mode.value, s.write.value, lane="columnar") for s in job.streams]
    begun = around.now()
    try:
        started = first.sink.start(first.sync, asked.run, job.restart)
        asked.run = started.run
        groups = _groups(job, reports)
        with short_turns():
            _together(asked, groups, started, load)
        reports += [_absent(name, why, first) for name, why in job.absent.items()]
        if all(report.status in ("succeeded", "attention", "stopped") for report in reports):
            first.sink.end(first.sync, asked.run, [])
    except NeverBegunError as never:
        raise never.error from None
    except TongquError as error:
        fail(reports[0], error, first.name)
        started = Started(asked.run)
    for report in reports:
        report.seconds = (around.now() - begun).total_seconds()
        if report.status == "succeeded" and report.counts.quarantined:
            report.status = "attention"
        asked.ended(report)
    stopped = around.stop.is_set() and not any(report.status == "failed" for report in reports)
    return Report(asked.run, reports, started.attempt, stopped, follows=True)


def _absent(name: str, why: TongquError, beside: Stream) -> StreamReport:
    report = StreamReport(name, beside.mode.value, beside.write.value, lane="columnar")
    fail(report, why, name)
    return report


def _groups(job: Job, reports: Sequence[StreamReport]) -> list[Group]:
    """The streams by the log they share. Messages of different datasets have no order among them: each has its own."""
    groups: dict[tuple[int, str], Group] = {}
    for stream, report in zip(job.streams, reports, strict=True):
        apart = stream.mode is Mode.STREAM or stream.source.apart
        alone = stream.source_dataset.name if apart else ""
        name = "tongqu_" + stream.sync[:16]
        if alone:
            name += "_" + hashlib.sha256(alone.encode()).hexdigest()[:8]
        group = groups.setdefault((id(stream.source), alone), Group(stream.source, name))
        group.streams.append(stream)
        group.reports.append(report)
    return list(groups.values())


def _together(asked: Asked, groups: Sequence[Group], started: Started, load: Callable[[Job, Emit], Report]) -> None:
    """Run the groups side by side; one that was taken over by another process, or a defect, stops the others."""
    halt = Event()
    threads = []
    defects: list[BaseException] = []

    def work(group: Group) -> None:
        try:
            Follower(asked, group, started, load, halt).run()
        except BaseException as error:  # noqa: BLE001  # a defect: raised by the caller
            defects.append(error)
            halt.set()

    if len(groups) == 1:
        Follower(asked, groups[0], started, load, halt).run()
        return
    for group in groups:
        threads.append(Thread(target=work, args=(group,), name="tongqu-follow", daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()
    if defects:
        raise defects[0]
