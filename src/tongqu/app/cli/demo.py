"""`tongqu demo`: builds a little factory and moves its data, end to end."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group, say, tell
from tongqu.app.messages import t
from tongqu.core.errors import InvalidSettingsError

app = group()


@command(app, "demo", "command.demo")
def demo(
    call: Call,
    dir: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help=t("demo.dir"))] = None,
) -> int:
    """Build the factory in the folder (default: a new temporary one), run its pipelines, tell what happened."""
    from tongqu.app.cli.moving import command_line, move
    from tongqu.app.demo import PIPELINES, build, story
    from tongqu.app.services.piping import RunRequest
    from tongqu.app.services.piping import run as run_pipelines
    from tongqu.app.wire import new_id

    folder = dir or Path(tempfile.mkdtemp(prefix="tongqu-demo-"))
    tell(t("demo.building", folder=str(folder)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        build(folder)
    except OSError as error:
        what = f"the factory cannot be built in {folder}: {error.strerror or error}"
        raise InvalidSettingsError(what, path="--dir", hint="name a folder that can be written") from error
    call = replace(call, project=folder, env="")
    wire = call.wire()
    request = RunRequest(PIPELINES, restart=True, command=command_line())
    code = move(call, wire, lambda: run_pipelines(request, wire.project, wire.ends, wire.runner, new_id))
    if code in (0, 3) and not call.json:
        for line in story(folder / "data" / "lake.duckdb", wire.project.dictionary):
            say(line)
        say(t("demo.next", folder=str(folder)))
    return code
