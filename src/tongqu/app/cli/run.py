"""`tongqu run PIPELINE…`: runs pipelines of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group
from tongqu.app.messages import t
from tongqu.core.errors import InvalidPlanError

app = group()


@command(app, "run", "command.run")
def run(
    call: Call,
    *,
    pipelines: Annotated[list[str], typer.Argument(metavar="PIPELINE...", help=t("run.pipelines"), show_default=False)],
    full: Annotated[bool, typer.Option("--full", help=t("run.full"))] = False,
    restart: Annotated[bool, typer.Option("--restart", help=t("sync.restart"))] = False,
    reload: Annotated[list[str] | None, typer.Option("--reload", metavar="T", help=t("sync.reload"))] = None,
    until_caught_up: Annotated[bool, typer.Option("--until-caught-up", help=t("sync.until_caught_up"))] = False,
    record: Annotated[Path | None, typer.Option("--record", metavar="DIR", help=t("record.record"))] = None,
    replay: Annotated[Path | None, typer.Option("--replay", metavar="DIR", help=t("record.replay"))] = None,
    queue: Annotated[bool, typer.Option("--queue", help=t("run.queue"))] = False,
    watch: Annotated[bool, typer.Option("--watch", help=t("run.watch"))] = False,
) -> int:
    """Run the named pipelines, in the order given."""
    if watch:
        from tongqu.app.cli.watching import watch as watching

        return watching(call, pipelines)
    if queue and reload:
        why = "a job is begun anew as it was asked for, so its tables would be read anew each time"
        raise InvalidPlanError(why, path="--reload", hint="run it without --queue")
    if queue:
        from tongqu.app.cli.schedule import show_queued

        call.answer(call.ask("jobs.queue", pipelines=pipelines, full=full, restart=restart), show_queued)
        return 0
    from tongqu.app.cli.moving import command_line, move
    from tongqu.app.services.piping import RunRequest
    from tongqu.app.services.running import run as run_pipelines
    from tongqu.app.services.running import with_sinks
    from tongqu.app.wire import new_id

    wire = call.wire()
    wire.record(record, replay)
    version, digest = wire.applied()
    request = RunRequest(
        tuple(pipelines),
        full=full,
        restart=restart,
        reload=tuple(reload or ()),
        until_caught_up=until_caught_up,
        command=command_line(),
        version=version,
        hash=digest,
    )
    return move(
        call,
        wire,
        lambda: run_pipelines(with_sinks(request, wire.project), wire.project, wire.ends, wire.runner, new_id),
    )
