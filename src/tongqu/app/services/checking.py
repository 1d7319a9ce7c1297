"""`check`: tests connections stage by stage, several at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.project.places import ProblemsError
from tongqu.app.services.ends import End, Ends, is_url
from tongqu.app.services.pointing import Known, strangers
from tongqu.core.connector import Sink, Source
from tongqu.core.errors import TongquError
from tongqu.store.scrub import Scrubber

_AT_ONCE = 8


def check(
    names: Sequence[str], ends: Ends, project: Callable[[], Project], scrubber: Scrubber, known: Known
) -> dict[str, Any]:
    """Test the named connections (names or URLs; none = all of the project).

    The files are checked first, with all references in connections (without names: of the whole project), and what is
    wrong raises ProblemsError before anything is connected. The document has
    `ok`, `problems` and per connection its passed `stages`; notes have a `level` and leave `ok` true. A connection that
    a pipeline or hook writes is tested as a sink (it may be made by its first run), any other as a source.
    """
    wanted = list(names)
    notes: list[dict[str, Any]] = []
    written: set[str] = set()
    if not wanted or not all(is_url(name) for name in wanted):
        loaded = project()
        wanted = wanted or list(loaded.connections)
        notes = [dict(note) for note in loaded.notes]
        written = {sink.connection for entry in loaded.pipelines.values() for sink in entry.all_sinks.values()}
        written |= {hook.to.connection for hook in loaded.hooks.values()}
    wrong: list[TongquError] = []
    if not names:
        notes += strangers(project(), known)
        wrong += ends.dangling(known)
    try:
        opened = ends.ends(wanted)
    except ProblemsError as error:
        raise ProblemsError([*error.problems, *wrong]) from None
    if wrong:
        raise ProblemsError(wrong)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        found = list(pool.map(lambda end: _one(end, end.name in written, scrubber), opened))
    problems = [problem for connection in found for problem in connection["problems"]]
    return {"ok": not problems, "problems": [*problems, *notes], "connections": found}


def _one(end: End, writes: bool, scrubber: Scrubber) -> dict[str, Any]:
    document: dict[str, Any] = {"name": end.name, "type": end.connector.name, "ok": True, "stages": [], "problems": []}
    try:
        side: Source | Sink = end.sink() if writes or end.connector.source is None else end.source()
        try:
            for stage in side.check():
                document["stages"].append(stage)
        finally:
            side.close()
    except TongquError as error:
        problem = scrubber.problem(error.problem())
        problem["path"] = f"{end.name}: {problem['path']}" if problem["path"] else end.name
        document |= {"ok": False, "problems": [problem]}
    return document
