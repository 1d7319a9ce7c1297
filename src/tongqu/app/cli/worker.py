"""`tongqu worker`: more hands for the jobs of a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app import early
from tongqu.app.cli.call import Call, command, print_document, tell, tell_problem
from tongqu.app.messages import t

app = typer.Typer()


@command(app, "worker", "command.worker")
def worker(
    call: Call,
    *,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=64, help=t("worker.concurrency"))
    ] = 2,
    until_idle: Annotated[bool, typer.Option("--until-idle", help=t("worker.until_idle"))] = False,
    files: Annotated[bool, typer.Option("--files", help=t("serve.files"))] = False,
) -> int:
    """Do jobs until a signal."""
    import signal

    from tongqu.app.services.hands import working

    counts = {"ended": 0, "lost": 0}

    def told(word: str, about: Mapping[str, Any]) -> None:
        counts[word] = counts.get(word, 0) + 1
        tell_job(word, about)

    hands = working(call.wire(), files=files, concurrency=concurrency, until_idle=until_idle, tell=told)
    before = {number: signal.signal(number, lambda *_: hands.leave()) for number in (signal.SIGINT, signal.SIGTERM)}
    if early.taken():
        hands.leave()
    try:
        tell(t("worker.ready", count=concurrency))
        hands.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        hands.jobs.close()
    if call.json:
        print_document({"ok": True, "ended": counts["ended"], "lost": counts["lost"]})
    return 0


def tell_job(word: str, told: Mapping[str, Any]) -> None:
    """What hands do, for people."""
    if word == "sighted":
        tell(t("worker.sighted", attempts=told["attempts"]))
        return
    if "problem" in told:
        tell(t(f"worker.{word}"))
        tell_problem(told["problem"])
        return
    state = t(f"status.{told['state']}") if "state" in told else ""
    tell(t(f"worker.{word}", job=told["job"], name=told["subject"], state=state))
