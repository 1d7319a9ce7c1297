"""What is done in a home on a disk that forgets: queue, jobs, secrets, audit trail, files, agreements, changes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tongqu.testing.forgetting.deed import Deed, Tell


def _home(folder: Path) -> Path:
    return folder / "plant" / "home"


# ---- the embedded queue


def _appends(folder: Path, _: Path, tell: Tell) -> None:
    import pyarrow as pa

    from tongqu.kit.queue.queue import Queue

    fields: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("v", pa.string())]
    schema = pa.schema(fields)
    queue = Queue(str(folder / "t.queue"))
    queue.declare("orders", schema)
    for number in range(1, 31):
        rows = pa.RecordBatch.from_pylist([{"id": number, "v": "x" * (number % 7) * 900}], schema=schema)
        queue.append("orders", rows).result(60)
        tell(str(number))
    queue.close()


def _appended(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from tongqu.kit.queue.queue import Queue

    if not told:
        return []
    queue = Queue(str(folder / "t.queue"))
    found = [
        value.as_py()
        for one in queue.read(["orders"], queue.position(0), waits=False)
        if one is not None
        for value in one.rows.column("id")
    ]
    queue.close()
    return _series(found, told)


def _series(found: Sequence[int], told: Sequence[str]) -> list[str]:
    """What is wrong with numbers that must be 1, 2, … at least as far as was told, and no more than one further."""
    whole = list(range(1, len(found) + 1))
    return [] if list(found) == whole and len(told) <= len(found) <= len(told) + 1 else [f"{found} after {told[-1:]}"]


# ---- rows sent to /ingest


def _sends(folder: Path, _: Path, tell: Tell) -> None:
    from tongqu.store.home import Home
    from tongqu.store.intake import Parcel, SqliteIntake

    intake = SqliteIntake.open(Home(_home(folder)))
    for number in range(1, 31):
        intake.append(Parcel("v1/lots", b"{}", str(number).encode(), float(number))).result(60)
        tell(str(number))
    intake.close()


def _sent(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from tongqu.store.home import Home
    from tongqu.store.intake import SqliteIntake

    if not told:
        return []
    intake = SqliteIntake.open(Home(_home(folder)))
    found = [int(kept.body) for kept in intake.waiting(1000)]
    intake.close()
    return _series(found, told)


# ---- jobs and schedules


def _schedules(folder: Path, _: Path, tell: Tell) -> None:
    from tongqu.store.home import Home
    from tongqu.store.jobs.job import Ended, Hands, Limits, Work
    from tongqu.store.jobs.jobs import Jobs
    from tongqu.store.jobs.ticks import Tick, Ticks

    jobs = Jobs.open(Home(_home(folder)))
    ticks = Ticks(jobs, "p/")
    ticks.agree({"nightly": Tick("nightly", "d", 0.0)})
    hands = Hands(holder="a", host="h", free=9, kept=9, place="p/")
    for number in range(1, 9):
        jobs.put([Work(id=f"put{number}", kind="run", subject="s", place="p/")])
        tell(f"put put{number}")
        tick = ticks.all()[0]
        if ticks.fire(tick, float(number), [Work(id=f"tick{number}", kind="run", subject="s", place="p/")]):
            tell(f"fired {number}")
        for job in jobs.take(hands, Limits()):
            tell(f"epoch {job.id} {job.epoch}")
            jobs.end(job.id, job.epoch, Ended("succeeded", {}))
            tell(f"ended {job.id}")
    jobs.close()


def _scheduled(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from tongqu.store.home import Home
    from tongqu.store.jobs.jobs import Jobs
    from tongqu.store.jobs.ticks import Ticks

    if not told:
        return []
    jobs = Jobs.open(Home(_home(folder)))
    held = {job.id: job for job in jobs.newest("p/", limit=1000)}
    due = [tick.due for tick in Ticks(jobs, "p/").all()]
    jobs.close()
    wrong = []
    for text in told:
        what, id, *more = text.split()
        if what == "fired":
            if not due or (due[0] or 0) < float(id) or f"tick{id}" not in held:
                wrong.append(f"{text}: due {due}")
        elif id not in held or (what == "ended" and held[id].state != "succeeded"):
            wrong.append(f"{text}: {held.get(id)}")
        elif what == "epoch" and held[id].epoch < int(more[0]):
            wrong.append(f"{text}: {held[id].epoch}")
    return wrong


# ---- secrets and the keys they are sealed under


def _seals(folder: Path, _: Path, tell: Tell) -> None:
    from tongqu.store.home import Home
    from tongqu.store.scrub import Scrubber
    from tongqu.store.secrets.keys import Keys
    from tongqu.store.secrets.rotation import rotate
    from tongqu.store.secrets.sealed import Secrets

    home = Home(_home(folder))
    store = Secrets.made(home, Keys(home, Scrubber(), {}))
    for number in range(1, 7):
        store.set(f"s{number}", f"value {number}")
        tell(str(number))
        if number % 3 == 0:
            rotate(store, at_once=2)
    store.close()


def _sealed(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from tongqu.store.home import Home
    from tongqu.store.scrub import Scrubber
    from tongqu.store.secrets.keys import Keys
    from tongqu.store.secrets.sealed import Secrets

    if not told:
        return []
    home = Home(_home(folder))
    store = Secrets(home, Keys(home, Scrubber(), {}))
    wrong = [f"s{one}: {store.get(f's{one}')}" for one in told if store.get(f"s{one}") != f"value {one}"]
    store.set("after", "all")
    store.close()
    return wrong


# ---- the audit trail


def _records(folder: Path, _: Path, tell: Tell) -> None:
    from datetime import UTC, datetime, timedelta

    from tongqu.store.audit.trail import Trail
    from tongqu.store.home import Home

    at = datetime(2026, 3, 1, tzinfo=UTC)
    trail = Trail.open(Home(_home(folder)), clock=lambda: at)
    chain = trail.begin("c-1")
    for number in range(1, 13):
        link = trail.note("action", who="li", what=f"main{number}")
        tell(f"main {link.seq} main{number}")
        link = chain.append(at.date().isoformat(), [trail.body("call", who="mes", what=f"call{number}")])
        tell(f"c-1 {link.seq} call{number}")
        if number % 4 == 0:
            trail.anchor(chain)
            at += timedelta(days=1)
    chain.close()
    trail.close()


def _recorded(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from datetime import UTC, datetime

    from tongqu.store.audit.chain import lines
    from tongqu.store.audit.trail import Trail, place_of
    from tongqu.store.audit.verify import verify
    from tongqu.store.home import Home

    if not told:
        return []
    home = Home(_home(folder))
    trail = Trail.open(home, clock=lambda: datetime(2026, 3, 9, tzinfo=UTC))
    trail.note("action", who="li", what="after")
    trail.begin("c-2").close()
    trail.close()
    place = place_of(home, make=False)
    verdict = verify(place)
    wrong = [] if verdict.ok else [f"{verdict.to_json()}"]
    found = {name: {line.link.seq: line.body for _, _, line in lines(place, name, None)} for name in place.chains()}
    for text in told:
        name, seq, what = text.split()
        if what.encode() not in found.get(name, {}).get(int(seq), b""):
            wrong.append(f"{text} is not there")
    return wrong


# ---- keys that are drawn once, and files that are put in place


def _puts(folder: Path, _: Path, tell: Tell) -> None:
    from tongqu.app.project.writing import write
    from tongqu.kit.lasting import put_first
    from tongqu.store.home import Home

    home = Home(_home(folder))
    home.ensure()
    for number in range(1, 4):
        tell(f"key {number} {put_first(home.path / f'{number}.key', os.urandom(16).hex().encode()).decode()}")
    project = folder / "tongqu.yaml"
    for number in range(1, 6):
        write({project: f"project: p{number}\n" * 300})
        tell(f"project p{number}")


def _put(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    wrong = []
    project, at_least = folder / "tongqu.yaml", 0
    for text in told:
        what, name, *value = text.split()
        if what == "key":
            path = _home(folder) / f"{name}.key"
            if not path.exists() or path.read_text() != value[0]:
                wrong.append(f"{text} is lost or torn")
        else:
            at_least = int(name[1:])
    if project.exists() or at_least:
        text = project.read_text() if project.exists() else ""
        possible = [f"project: p{number}\n" * 300 for number in range(max(1, at_least), at_least + 2)]
        if text not in possible:
            wrong.append(f"project of {len(text)} bytes {text[:20]!r}, told p{at_least}")
    return wrong


# ---- what two systems agreed on


def _agrees(folder: Path, _: Path, tell: Tell) -> None:
    from tongqu.store.home import Home
    from tongqu.store.twoway import Book

    book = Book.open(Home(_home(folder)), lambda: 1.0)
    for number in range(1, 11):
        book.intend(f"b{number}", "sync", {"number": number})
        tell(f"intended b{number}")
        book.stepped(f"b{number}", "one", {"done": number})
        tell(f"stepped b{number}")
    book.close()


def _agreed(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from tongqu.store.home import Home
    from tongqu.store.twoway import Book

    if not told:
        return []
    book = Book.open(Home(_home(folder)), lambda: 1.0)
    open_ones = dict(book.open_batches("sync"))
    wrong = []
    for text in told:
        what, id = text.split()
        if id not in open_ones or (what == "stepped" and book.steps(id) != {"one": {"done": int(id[1:])}}):
            wrong.append(f"{text} is lost")
    book.close()
    return wrong


# ---- what changed, for those who follow it


def _changes(folder: Path, _: Path, tell: Tell) -> None:
    from tongqu.store.feed import Changed, Feed
    from tongqu.store.home import Home
    from tongqu.store.outbox import Outbox

    feed, outbox = Feed.open(Home(_home(folder))), Outbox.open(Home(_home(folder)))
    outbox.begin("erp", 0)
    for number in range(1, 11):
        position = feed.append("db/lots", [Changed("insert", {"id": str(number)})], "call")
        tell(f"fed {position}")
        outbox.add("erp", position, [])
        tell(f"followed {position}")
    feed.close()
    outbox.close()


def _changed(folder: Path, _: Path, told: Sequence[str]) -> list[str]:
    from tongqu.store.feed import Feed
    from tongqu.store.home import Home
    from tongqu.store.outbox import Outbox

    if not told:
        return []
    feed, outbox = Feed.open(Home(_home(folder))), Outbox.open(Home(_home(folder)))
    found, hook = [event.position for event in feed.after(0)], outbox.hook("erp")
    feed.close()
    outbox.close()
    wrong = [] if hook and hook.position <= max(found, default=0) else [f"{hook} is ahead of {found[-1:]}"]
    for text in told:
        what, position = text.split()
        if int(position) not in found or (what == "followed" and hook and hook.position < int(position)):
            wrong.append(f"{text} is lost")
    return wrong


DEEDS: Mapping[str, Deed] = {
    "queue": Deed(_appends, _appended),
    "ingest": Deed(_sends, _sent),
    "jobs": Deed(_schedules, _scheduled),
    "secrets": Deed(_seals, _sealed),
    "audit": Deed(_records, _recorded),
    "files": Deed(_puts, _put),
    "saga": Deed(_agrees, _agreed),
    "feed": Deed(_changes, _changed),
}
"""What is done in the home, by name."""
