"""The process of one job, begun by `serve` or `worker`: reads what to do from stdin, tells of it on stdout.

`python -m tongqu.app.job`: the first line of stdin is JSON; that stdin ends means that nobody listens any more, and the
job stops in order. Each line of stdout is JSON: `{"run"}` as soon as it has an id, `{"read"}` with a part of its work
and the rows of it that were ever committed, `{"end"}` with its document.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tongqu.app.services.execution import Outcome
    from tongqu.app.wire import Wire
    from tongqu.core.events import Event


def main() -> int:
    """Do the job that stdin names; the exit code is that of the command line."""
    told: dict[str, Any] = json.loads(_line())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what a user's steps print is not for the one who listens
    from tongqu.app.wire import Wire
    from tongqu.core.errors import TongquError

    wire = Wire(Path(told["folder"]), told["env"], lambda id, **params: None, f"job {told['subject']}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wire.stop.set())
    Thread(target=_until_alone, args=(wire,), daemon=True).start()
    listening = _Listener(out)
    wire.runner.listeners.append(listening)
    try:
        outcome = _done(wire, told)
        document, code = outcome.document, outcome.exit_code
    except TongquError as error:
        problems = [one.problem() for one in getattr(error, "problems", ())] or [error.problem()]
        document = {"ok": False, "status": "failed", "problems": [wire.scrubber.problem(one) for one in problems]}
        code = error.exit_code
    except Exception as error:  # noqa: BLE001  # only here all secrets are known that its text may hold
        what = f"{type(error).__name__}: {error}"
        problem = {"path": told["subject"], "code": "internal", "message": what, "hint": ""}
        document = {"ok": False, "status": "failed", "problems": [wire.scrubber.problem(problem)]}
        code = 1
    kept = {name: value for name, value in document.items() if name != "tables"}
    out.write(json.dumps({"end": kept}, ensure_ascii=False, default=str) + "\n")
    out.close()
    return code


class _Listener:
    """Tells the id of the run when its first event comes."""

    def __init__(self, out: Any):
        self._out = out
        self._told = ""

    def __call__(self, event: Event) -> None:
        from tongqu.core.events import Committed, Followed

        if isinstance(event, Committed):
            with suppress(BrokenPipeError):  # nobody listens any more: it stops in order (`_until_alone`)
                self._out.write(json.dumps({"read": [f"{event.stream}/{event.split}", event.counts.read]}) + "\n")
        if isinstance(event, Followed) and event.lag_rows is not None:
            self._out.write(json.dumps({"behind": event.lag_rows}) + "\n")
        if event.run and event.run != self._told:
            self._told = event.run
            self._out.write(json.dumps({"run": event.run}) + "\n")


def _done(wire: Wire, told: Mapping[str, Any]) -> Outcome:
    from tongqu.app.services.origins import Applied, Files

    origin = Files(wire.folder, wire.env) if told["files"] else Applied(
        wire.folder, wire.env, wire.home, wire.scrubber
    )  # fmt: skip
    wire.project, _ = origin.load()
    spec, subject = told["spec"], told["subject"]
    if told["kind"] == "reconcile":
        from tongqu.app.services.reconciling import reconcile

        return reconcile(wire, subject, repair=bool(spec.get("repair")))
    if told["kind"] == "twoway":
        from tongqu.app.services.twoway import run as rounds

        entry = wire.project.two_way(subject)
        return rounds(wire, subject, watch=entry.mode == "cdc" and entry.schedule is None)
    from tongqu.app.services.backfilling import windowed
    from tongqu.app.services.piping import RunRequest
    from tongqu.app.services.running import run
    from tongqu.app.wire import new_id

    version, digest = wire.applied()
    window = tuple(spec.get("window") or ())
    project = windowed(wire.project, subject, window) if window else wire.project
    request = RunRequest(
        (subject,), full=bool(spec.get("full")), restart=bool(spec.get("restart")), command=f"tongqu run {subject}",
        version=version, hash=digest, window="…".join(window),
    )  # fmt: skip
    return run(request, project, wire.ends_of(lambda: project), wire.runner, new_id)


def _line() -> bytes:
    """The first line of stdin, and not a byte more."""
    found = b""
    while not found.endswith(b"\n"):
        piece = os.read(0, 65_536)
        if not piece:
            break
        found += piece
    return found


def _until_alone(wire: Wire) -> None:
    while os.read(0, 4096):
        continue
    wire.stop.set()


if __name__ == "__main__":
    sys.exit(main())
