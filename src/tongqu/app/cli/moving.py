"""What `sync`, `run` and `demo` share: progress while data moves, and the document at the end."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.cli.call import Call, print_document, say, table, tell_problem, trace
from tongqu.app.cli.stopping import stoppable
from tongqu.app.messages import t, translated

if TYPE_CHECKING:
    from tongqu.app.services.execution import Outcome
    from tongqu.app.wire import Wire


def command_line() -> str:
    """This process's command without passwords, to be written down."""
    from tongqu.store.scrub import known

    return shlex.join(["tongqu", *(known.text(argument) for argument in sys.argv[1:])])


def move(call: Call, wire: Wire, act: Callable[[], Outcome], *, silent: bool = False) -> int:
    """Run with progress and signals, print the document (unless `silent`), give the exit code. What steps of the user's
    print goes to stderr: stdout is the document's."""
    gc.freeze()  # all that stays is there, and need not be walked: now garbage may come
    gc.set_threshold(50_000, 20, 20)
    with _progress(call, wire) as listener, stoppable(wire.stop), redirect_stdout(sys.stderr):
        wire.runner.listeners.append(listener)
        if call.debug:
            wire.runner.notice = trace
        outcome = act()
    shown = _translated(outcome.document)
    if call.json:
        print_document(shown)
    elif shown.get("streams") and not silent:
        _show(shown, call)
    for problem in outcome.document.get("problems", []):
        tell_problem(problem)
    return outcome.exit_code


def _progress(call: Call, wire: Wire) -> Any:
    from tongqu.app import progress

    if call.progress == "jsonl":
        return progress.JsonLines()
    if sys.stderr.isatty():
        return progress.LiveTable(wire.scrubber.text)
    return progress.Quiet(wire.scrubber.text)


def _translated(document: dict[str, Any]) -> dict[str, Any]:
    if "problems" not in document:
        return document
    return {**document, "problems": [translated(problem) for problem in document["problems"]]}


def _show(document: dict[str, Any], call: Call) -> None:
    from tongqu.app.progress import summary

    table(summary(document))
    again = t("summary.attempts", attempts=document["attempts"]) if document.get("attempts", 1) > 1 else ""
    say(t("summary.run", run=document["run"], status=t(f"status.{document['status']}"), again=again))
    for stream in document["streams"]:
        for change in stream.get("schema", ()):
            told = " → ".join(filter(None, (change.get("before"), change.get("after"))))
            what, done = t(f"change.{change['change']}"), t(f"outcome.{change['outcome'].replace(' ', '_')}")
            say(t("summary.schema", stream=stream["name"], column=change["column"], change=what, types=told, done=done))
    quarantined = sum(stream["quarantined"] for stream in document["streams"])
    if quarantined:
        where = "" if call.project == Path() else f" --project {shlex.quote(str(call.project))}"
        where += f" --env {shlex.quote(call.env)}" if call.env else ""
        say(t("summary.quarantined", count=f"{quarantined:,}", where=where))
