"""The acts of the demo: what is done to the little factory, through the same services as the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.demo import factory
from tongqu.app.services.execution import Outcome, Recorder, Run
from tongqu.app.wire import new_id

if TYPE_CHECKING:
    from tongqu.app.services.versioning import Versioning
    from tongqu.app.wire import Wire

PIPELINES = ("inspections", "materials", "lines", "patrols", "bi_copy", "yield_by_line")
MENDING = ("set weight=abs(weight)", "set weight=weight/1000")
"""A scale with its sign turned round, and one that told grams for kilograms."""
Told = dict[str, Any]


def has_excel() -> bool:
    """Whether the extra `excel` is installed."""
    return all(find_spec(module) is not None for module in ("python_calamine", "xlsxwriter"))


@dataclass
class Stage:
    """Where the acts play, and what they left behind."""

    wire: Wire
    command: str
    excel: bool
    told: list[Told] = field(default_factory=list)
    """What each act did, in numbers."""
    first: Outcome | None = None
    """The first run of all pipelines."""
    failed: Outcome | None = None

    @property
    def data(self) -> Path:
        """Where the systems of the factory are."""
        return self.wire.folder / "data"

    def run(self, *pipelines: str) -> list[dict[str, Any]]:
        """Run pipelines; the documents of their streams."""
        from tongqu.app.services.piping import RunRequest
        from tongqu.app.services.running import run

        wire = self.wire
        version, digest = wire.applied()
        request = RunRequest(pipelines, restart=self.first is None, command=self.command, version=version, hash=digest)
        outcome = run(request, wire.project, wire.ends, wire.runner, new_id)
        self.first = self.first or outcome
        if outcome.exit_code not in (0, 3):
            self.failed = outcome
        return list(outcome.document.get("streams", ()))

    @contextmanager
    def versions(self) -> Iterator[Versioning]:
        """The versions of the project, with its files as they are now."""
        from tongqu.app.project.load import load
        from tongqu.app.services.versioning import opened

        wire = self.wire
        project = load(wire.folder, wire.env)
        store = wire.versions()
        try:
            yield opened(wire.folder, wire.env, lambda: project, store=store, scrubber=wire.scrubber)
        finally:
            store.close()


def play(stage: Stage) -> Outcome:
    """Play the acts in order. The outcome is that of the first run with `acts`, or that of a later run which failed or
    was stopped; no act follows one that failed."""
    for name, act in ACTS:
        if stage.failed is not None or stage.wire.stop.is_set():
            break
        stage.told.append({"act": name, **act(stage)})
    outcome = stage.failed or stage.first
    if outcome is None or (stage.failed is None and len(stage.told) < len(ACTS)):
        run = outcome.document.get("run", "") if outcome else ""
        stopped = {"path": run, "code": "run.cancelled", "message": "stopped by a signal", "hint": "begin it again"}
        kept = {**(outcome.document if outcome else {}), "status": "stopped", "ok": False, "problems": [stopped]}
        outcome = Outcome(kept, 1)
    return Outcome({**outcome.document, "acts": stage.told}, outcome.exit_code)


def _apply(stage: Stage) -> Told:
    from tongqu.app.services.planning import plan

    with stage.versions() as mine:
        planned = plan(mine, stage.wire.ends)
        applied = mine.apply("tongqu demo")
    return {"changes": len(planned["changes"]), "version": applied["version"]}


def _move(stage: Stage) -> Told:
    streams = stage.run(*(name for name in PIPELINES if stage.excel or name != "patrols"))
    return {"streams": len(streams)} | {name: _total(streams, name) for name in ("read", "written", "quarantined")}


def _excel(stage: Stage) -> Told:
    streams = stage.first.document["streams"] if stage.first else []
    found = [stream for stream in streams if stream["name"] == "patrols"]
    if not found:
        return {"missing": "excel"}
    cleaned = sum(step.get("cleaned", 0) for stream in found for step in stream["steps"])
    return {"cleaned": cleaned, "repaired": _total(found, "repaired"), "read": _total(found, "read")}


def _mend(stage: Stage) -> Told:
    from tongqu.app.services.fixing import Fixing
    from tongqu.app.services.replaying import Replaying
    from tongqu.app.services.versioning import person
    from tongqu.core.dirty import Dirty
    from tongqu.meaning.mending import parse

    wire, now = stage.wire, stage.wire.surroundings.now
    rules = []
    for text in MENDING:
        which = Dirty(stream="inspections", code="check.range", states=("new",))
        mends = [parse(text, lambda name: Path(name).read_text(encoding="utf-8"))]
        done = Fixing(mends, lambda: wire.project, wire.ends, now, new_id, person().actor).run(["lake"], which)
        rules.append({"rule": text, "fixed": done["fixed"], "refused": done["still_bad"]})
    replayed = Replaying(lambda: wire.project, wire.ends, now, new_id, wire.stop).run(["lake"], Dirty(states=()))
    return {"rules": rules, "replayed": replayed["replayed"], "written": replayed["written"]}


def _compare(stage: Stage) -> Told:
    from dataclasses import replace

    from tongqu.app.services.diffing import DiffRequest, of_entry

    factory.edit_by_hand(stage.data / "bi.db")
    wire = stage.wire
    request = of_entry(wire.project.reconciliation("bi_copy"), DiffRequest("bi_copy", ""))
    document = wire.comparing(stage.command).diff(replace(request, repair=True))
    (found,) = document["tables"]
    counts = {name: found[name] for name in ("same", "missing", "extra", "different")}
    return counts | {"ok": document["ok"], "repaired": found["repaired"], "certificate": document["certificate"]}


def _schema(stage: Stage) -> Told:
    factory.change_schemas(stage.data)
    streams = stage.run("inspections", "lines", "yield_by_line")
    changes = [{"stream": stream["name"], **change} for stream in streams for change in stream.get("schema", ())]
    return {"changes": changes, "inserted": sum(s["inserted"] for s in streams if s["name"] == "inspections")}


def _undo(stage: Stage) -> Told:
    from tongqu.app.services.undoing import undo

    factory.cut_short(stage.data)
    streams = stage.run("materials")
    if stage.failed is not None:
        return {}
    wire = stage.wire
    end = wire.ends.end("lake")
    recorder = Recorder(Run("undo", stage.command, (end.kept,) if end.kept else ()), wire.runs, wire.scrubber)
    (table,) = undo(end, ["material"], recorder, wire.scrubber, new_id())["tables"]
    return {"short": _total(streams, "written"), "rows": table["rows"]}


def _versions(stage: Stage) -> Told:
    from tongqu.app.services.planning import plan

    file = stage.wire.folder / "tongqu.yaml"
    before = file.read_text(encoding="utf-8")
    try:
        factory.lower_limit(file)
        with stage.versions() as mine:
            (change,) = plan(mine, stage.wire.ends, offline=True)["changes"]
            applied = mine.apply("tongqu demo")
            undone = mine.undo(reason="tongqu demo")
    finally:
        file.write_text(before, encoding="utf-8")
    told = {"resource": change["resource"], "breaking": change["breaking"], "affects": change["affects"]}
    return told | {"version": applied["version"], "undone_by": undone["version"]}


ACTS: Sequence[tuple[str, Callable[[Stage], Told]]] = (
    ("apply", _apply),
    ("move", _move),
    ("excel", _excel),
    ("mend", _mend),
    ("compare", _compare),
    ("schema", _schema),
    ("undo", _undo),
    ("versions", _versions),
)


def _total(streams: Sequence[Told], name: str) -> int:
    return sum(int(stream[name]) for stream in streams)
