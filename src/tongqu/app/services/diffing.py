"""`diff`: compares tables of two systems, repairs the right side if asked, and writes the certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

from tongqu import __version__
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.execution import Recorder
from tongqu.app.services.tables import datasets_of
from tongqu.catalog import certificate as certificates
from tongqu.catalog.agreement import Agreement, Wish, agree
from tongqu.catalog.reconcile import Found, Pair, Tally, counted, differences
from tongqu.catalog.repairing import Repair, Repaired
from tongqu.catalog.verifying import Seen, unstable, verified
from tongqu.core.compare import Comparable, Comparison
from tongqu.core.connector import Can, Sink, Source
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, TongquError, learnt
from tongqu.store.scrub import Scrubber

_PROBLEMS = 20


@dataclass(frozen=True)
class DiffRequest:
    """The arguments of `diff`. `tables` are `[schema.]name[=target]` or globs."""

    left: str
    right: str
    tables: Sequence[str] = ()
    wish: Wish = field(default_factory=Wish)
    repair: bool = False
    dry_run: bool = False
    certificate: Path | None = None


@dataclass(frozen=True)
class Around:
    """What a comparison needs besides the two ends. `at` gives RFC 3339; `folder` is made where it is not there."""

    now: Callable[[], datetime]
    new_id: Callable[[], str]
    folder: Callable[[], Path]
    stop: Event
    recorder: Callable[[Sequence[str]], Recorder]
    """A new record of a repair into these sinks."""
    scrubber: Scrubber

    def at(self) -> str:
        """The time."""
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check(request: DiffRequest) -> None:
    """Refuse arguments that cannot go together; raises ConfigError."""
    if not request.tables:
        raise InvalidSettingsError("name at least one table", path="--table", hint="for example --table orders")
    if request.wish.bag and (request.wish.key or request.repair):
        raise InvalidPlanError(
            "rows compared as a bag have no key, so none can be named or repaired", path="--no-key", hint="give --key"
        )
    if request.dry_run and not request.repair:
        raise InvalidPlanError("--dry-run shows what --repair would do", path="--dry-run", hint="add --repair")
    if not 0 <= request.wish.tolerance < float("inf"):
        raise InvalidSettingsError("the tolerance is a number from 0", path="--tolerance", hint="for example 1e-9")


@dataclass(frozen=True)
class Comparing:
    """Compares tables of two ends."""

    ends: Ends
    around: Around

    def diff(self, request: DiffRequest) -> dict[str, Any]:
        """Compare, repair if asked (written down as a run), certify. Raises ConfigError before any connection for
        arguments that are wrong."""
        check(request)
        left, right = self.ends.end(request.left), self.ends.end(request.right)
        if not request.repair:
            return self._compared(request, left, right)
        if Can.UPSERT | Can.TRANSACTIONS not in right.connector.can:
            what = f"single rows of {right.connector.name} cannot be repaired"
            raise InvalidPlanError(what, path=right.name, hint="sync the whole dataset")
        if request.dry_run:
            return self._compared(request, left, right)
        recorder = self.around.recorder((right.kept,) if right.kept else ())
        document: dict[str, Any] = {"status": "failed"}
        try:
            found = self._compared(request, left, right)
            document = {**found, "status": "succeeded" if found["ok"] else "attention", "streams": _streams(found)}
            return found
        except TongquError as error:
            document["problems"] = [self.around.scrubber.problem(error.problem())]
            raise
        finally:
            kept = {key: value for key, value in document.items() if key != "tables"}
            recorder.finish(self.around.new_id(), kept)

    def _compared(self, request: DiffRequest, left: End, right: End) -> dict[str, Any]:
        around = self.around
        started = around.at()
        with learnt(), ExitStack() as stack:
            sources = (left.source(), right.source())
            for source in sources:
                stack.callback(source.close)
            job = _Job(request, sources, (left, right), around, stack)
            done = [job.table(*pair) for pair in _pairs(request.tables, *sources)]
        document = certificates.certificate(
            [compared for compared, _ in done],
            left=left.settings.display(), right=right.settings.display(),
            started=started, finished=around.at(), version=__version__,
        )  # fmt: skip
        path = request.certificate or around.folder() / f"diff-{around.new_id()}.json"
        certificates.write(path, document)
        same = document["result"] == "same"
        tables = [shown for _, shown in done]
        return {"ok": same, "tables": tables, "certificate": str(path), "sha256": document["sha256"]}


def _streams(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What a repair did, as the run store counts it: no values of rows."""
    streams = []
    for table in document["tables"]:
        done = table.get("repaired", {})
        written = sum(done.get(name, 0) for name in ("inserted", "updated", "deleted"))
        streams.append({"name": table["name"], "read": written, "written": written, "quarantined": 0, **done})
    return streams


def _pairs(tables: Sequence[str], left: Source, right: Source) -> list[tuple[Dataset, Dataset]]:
    found: dict[tuple[str, str], tuple[Dataset, Dataset]] = {}
    for text in tables:
        name, equals, target = text.partition("=")
        if equals and (not target or any(sign in name for sign in "*?[")):
            raise InvalidPlanError(f"{text!r} names no one table on each side", path="--table", hint="NAME=TARGET")
        for here in datasets_of(left, name, "left"):
            there = datasets_of(right, target or here.name, "right")
            if len(there) > 1:
                names = ", ".join(dataset.name for dataset in there)
                raise InvalidPlanError(f"{here.name!r} may be one of {names}", path="--table", hint=f"{here.name}=NAME")
            found[here.name, there[0].name] = (here, there[0])
    return list(found.values())


@dataclass
class _Job:
    """The tables of one request, one after the other."""

    request: DiffRequest
    sources: tuple[Source, Source]
    ends: tuple[End, End]
    around: Around
    stack: ExitStack
    _sink: Sink | None = None

    def table(self, left: Dataset, right: Dataset) -> tuple[certificates.Compared, dict[str, Any]]:
        """Compare one table, and once more after a repair."""
        agreement = agree(left, right, self.request.wish)
        with self._pair(left, right, agreement) as pair:
            shaky = [name for name in unstable(pair, agreement) if name not in self.request.wish.columns]
        if shaky:
            note = f"{', '.join(shaky)}: the systems write equal JSON differently, so it is not compared"
            agreement = agreement.without(shaky, note)
        seen, numbers = Seen(), {"missing": 0, "extra": 0, "different": 0, "alike": 0}
        repaired: Repaired | None = None
        with self._pair(left, right, agreement) as pair:
            tally = Tally()
            found = self._found(pair, agreement, tally, seen, numbers)
            if self.request.repair and not self.request.dry_run:
                repaired = self._repaired(pair, agreement, right, found)
            else:
                for _ in found:
                    continue
        counts = _counts(tally, numbers)
        shown = _shown(left, right, agreement, (tally, counts, seen))
        if self.request.dry_run:
            shown["would"] = _would(counts)
        if repaired is None:
            return certificates.Compared(left.name, right.name, agreement, tally, counts), shown
        shown["repaired"] = repaired.to_json()
        if repaired.moved:
            shown["notes"].append(
                f"{repaired.moved:,} rows changed while they were repaired, and were left as they are"
            )
        shown["problems"] = [{"code": row.code, "message": row.message} for row in repaired.refused[:_PROBLEMS]]
        tally, counts = self._again(left, right, agreement)
        shown["remaining"] = {name: counts[name] for name in ("missing", "extra", "different")}
        compared = certificates.Compared(left.name, right.name, agreement, tally, counts, repaired.to_json())
        return compared, shown

    def _found(
        self, pair: Pair, agreement: Agreement, tally: Tally, seen: Seen, numbers: dict[str, int]
    ) -> Iterator[Found]:
        """The real differences, counted on the way."""
        for one in differences(pair, tally):
            real, alike = verified(pair, agreement, one, seen)
            numbers["alike"] += alike
            numbers["different"] += real.different.num_rows
            for name, keys in (("missing", real.missing), ("extra", real.extra)):
                times: list[Any] = keys.column("times").to_pylist() if pair.bag else []
                numbers[name] += sum(map(int, times)) if pair.bag else keys.num_rows
            if real.count:
                yield real

    def _repaired(self, pair: Pair, agreement: Agreement, right: Dataset, found: Iterator[Found]) -> Repaired:
        first = next(found, None)
        if first is None:
            return Repaired()
        if self._sink is None:
            self._sink = self.ends[1].sink()
            self.stack.callback(self._sink.close)
        identity = "\0".join(["diff", *(end.identity for end in self.ends), right.name])
        repair = Repair(
            pair, agreement, self._sink, right, run=self.around.new_id(), at=self.around.at(),
            sync=hashlib.sha256(identity.encode()).hexdigest()[:32], partial=bool(self.request.wish.columns),
        )  # fmt: skip
        with repair:
            repair.mend(first)
            for one in found:
                repair.mend(one)
        return repair.done

    def _again(self, left: Dataset, right: Dataset, agreement: Agreement) -> tuple[Tally, dict[str, int]]:
        """Compare anew: the proof that the repair made both sides equal."""
        tally, numbers = Tally(), {"missing": 0, "extra": 0, "different": 0, "alike": 0}
        with self._pair(left, right, agreement) as pair:
            for _ in self._found(pair, agreement, tally, Seen(), numbers):
                continue
        return tally, _counts(tally, numbers)

    @contextmanager
    def _pair(self, left: Dataset, right: Dataset, agreement: Agreement) -> Iterator[Pair]:
        sides = [
            comparable(source, dataset, comparison)
            for source, dataset, comparison in zip(
                self.sources, (left, right), (agreement.left, agreement.right), strict=True
            )
        ]
        pair = Pair(sides[0], sides[1], [column.name for column in agreement.left.key], self.around.stop)
        try:
            yield pair
        finally:
            pair.close()


def comparable(source: Source, dataset: Dataset, comparison: Comparison) -> Comparable:
    """The side as the system itself computes it; read whole where it cannot, or where it cannot filter exactly."""
    from tongqu.kit.comparing.spool import Spooled

    condition = local = ""
    if comparison.where:
        from tongqu.meaning.expressions import predicate, render
        from tongqu.meaning.pushdown import push

        typed = predicate(comparison.where, dataset.schema, path="--where")
        pushed, _ = push(typed.tree, dataset.schema, source.dialect)
        condition, local = pushed or "", render(typed.tree, {name: name for name in dataset.columns})
        if pushed is None:
            return Spooled(source, dataset, comparison, local)
    own = source.comparing(dataset, comparison, condition)
    return own or Spooled(source, dataset, comparison, local)


def _counts(tally: Tally, numbers: dict[str, int]) -> dict[str, int]:
    return counted(tally, numbers["missing"], numbers["extra"], numbers["different"])


def _would(counts: dict[str, int]) -> dict[str, int]:
    return {"inserted": counts["missing"], "updated": counts["different"], "deleted": counts["extra"]}


def _shown(
    left: Dataset, right: Dataset, agreement: Agreement, learnt_: tuple[Tally, dict[str, int], Seen]
) -> dict[str, Any]:
    """The table's part of the document."""
    tally, counts, seen = learnt_
    notes = list(agreement.notes)
    if tally.settled:
        notes.append(f"{tally.settled:,} rows changed while they were compared, and were equal the second time")
    notes += tally.remarks
    if not tally.rechecked and agreement.left.key:
        notes.append("too many rows differ to look at each a second time")
    return {
        "name": left.name,
        "target": right.name,
        **counts,
        "rows": {"left": tally.left.rows, "right": tally.right.rows},
        "listed": tally.listed,
        "key": [column.name for column in agreement.left.key],
        "columns": list(agreement.columns),
        "differing_columns": dict(seen.columns),
        "examples": seen.examples,
        "notes": notes,
    }


def verify(path: Path) -> dict[str, Any]:
    """A certificate read from its file, its hash checked; raises CheckpointError if it was changed."""
    found = certificates.verify(path)
    return {
        "ok": True,
        "certificate": str(path),
        **{name: found[name] for name in ("result", "left", "right", "finished")},
    }


def of_entry(entry: Any, request: DiffRequest) -> DiffRequest:
    """A request as an entry of the project's `reconcile` section asks for it."""
    wish = replace(
        request.wish,
        key=request.wish.key or tuple(entry.key),
        columns=request.wish.columns or tuple(entry.columns),
        where=request.wish.where or (entry.where or ""),
        tolerance=request.wish.tolerance or entry.tolerance,
    )
    if entry.repair == "never" and request.repair:
        raise InvalidPlanError("this entry is never repaired", path="--repair", hint="change `repair: never`")
    return replace(
        request,
        left=entry.left.connection,
        right=entry.right.connection,
        tables=(f"{entry.left.dataset}={entry.right.dataset}",),
        wish=wish,
        repair=request.repair or entry.repair in ("auto", "always"),
    )
