"""`tongqu demo`: builds a little factory and plays what its data goes through, end to end."""

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
    """Build the factory in the folder (default: a new temporary one), play the acts, tell what happened."""
    from tongqu.app.cli.moving import command_line, move
    from tongqu.app.demo import telling
    from tongqu.app.demo.acts import Stage, has_excel, play
    from tongqu.app.demo.factory import build

    folder, excel = dir or Path(tempfile.mkdtemp(prefix="tongqu-demo-")), has_excel()
    tell(t("demo.building", folder=str(folder)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        build(folder, excel=excel)
    except OSError as error:
        what = f"the factory cannot be built in {folder}: {error.strerror or error}"
        raise InvalidSettingsError(what, path="--dir", hint="name a folder that can be written") from error
    call = replace(call, project=folder, env="")
    wire = call.wire()
    stage = Stage(wire, command_line(), excel)
    code = move(call, wire, lambda: play(stage))
    if code in (0, 3) and not call.json:
        for line in (*telling.acts(stage.told), *telling.story(stage.data / "lake.duckdb", wire.project.dictionary)):
            say(line)
        say(t("demo.next", folder=str(folder)))
    return code
