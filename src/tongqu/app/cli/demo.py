"""`tongqu demo`: builds a little factory and plays what its data goes through, end to end."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, print_document, say, tell
from tongqu.app.messages import t
from tongqu.core.errors import InvalidSettingsError

if TYPE_CHECKING:
    from tongqu.app.demo.acts import Stage
    from tongqu.app.services.execution import Outcome

app = group()


@command(app, "demo", "command.demo")
def demo(
    call: Call,
    dir: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help=t("demo.dir"))] = None,
    *,
    change: Annotated[
        list[str] | None,
        typer.Argument(metavar="[change [ORDER] [FIELD=VALUE]…]", help=t("demo.live.change"), show_default=False),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help=t("demo.live"))] = False,
    auto: Annotated[int, typer.Option("--auto", metavar="N", min=0, max=100_000, help=t("demo.live.auto"))] = 0,
    erp: Annotated[str, typer.Option("--erp", metavar="URL", help=t("demo.live.erp"), show_default=False)] = "",
    serve: Annotated[bool, typer.Option("--serve", help=t("demo.serve"))] = False,
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help=t("demo.port"))] = 8700,
) -> int:
    """Build the factory in the folder (default: a new temporary one), play the acts, tell what happened; serve it. With
    `--live` an ERP is followed instead, and `--live change` changes a row of it."""
    if live:
        from tongqu.app.cli.demo_live import change_order, play_live

        return change_order(call, dir, erp, change) if change else play_live(call, dir, erp, port=port, auto=auto)
    if change or auto or erp:
        raise typer.BadParameter(t("demo.live.needed"), param_hint="--live")
    if serve:
        return serve_demo(call, dir, port)
    code, _ = _played(call, dir)
    return code


def serve_demo(call: Call, dir: Path | None, port: int) -> int:
    """Play the demo, then serve its APIs until a signal, and say how they are called."""
    from tongqu.app.cli.served import tell_served
    from tongqu.app.demo.calling import client
    from tongqu.app.http.handler import managing
    from tongqu.app.services.serve_place import ServeRequest
    from tongqu.app.services.serving import require, serve

    require()
    code, played = _played(replace(call, json=False), dir, silent=call.json)
    if played is None:
        return code
    stage, outcome = played
    wire = replace(call, project=stage.wire.folder, env="").wire()
    secret, token = client(wire.callers())

    def told(word: str, what: Mapping[str, Any]) -> None:
        if word == "listening":
            _calls(call, outcome, what, secret, token)
        else:
            tell_served(word, what)

    return 0 if serve(wire, ServeRequest(port=port), told, managing(wire))["finished"] else 1


def _played(call: Call, dir: Path | None, *, silent: bool = False) -> tuple[int, tuple[Stage, Outcome] | None]:
    """The demo's exit code, and what there is to go on with if it came to its end."""
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
    outcomes: list[Outcome] = []

    def acted() -> Outcome:
        outcomes.append(play(stage))
        return outcomes[0]

    code = move(call, wire, acted, silent=silent)
    if code not in (0, 3):
        return code, None
    if not call.json and not silent:
        for line in (*telling.acts(stage.told), *telling.story(stage.data / "lake.duckdb", wire.project.dictionary)):
            say(line)
        say(t("demo.next", folder=str(folder)))
    return code, (stage, outcomes[0])


def _calls(call: Call, outcome: Outcome, told: Mapping[str, Any], secret: str, token: str) -> None:
    from tongqu.app.demo.calling import lines

    calls = lines(told["url"], secret, told["prefixes"])
    if call.json:
        served = {"url": told["url"], "pid": told["pid"], "token": token, "calls": [line.to_json() for line in calls]}
        print_document({**outcome.document, "serve": served})
        return
    say(t("serve.listening", url=told["url"]))
    say(t("demo.calls"))
    say(f"TOKEN={token}")
    for line in calls:
        say(f"# {t(line.shows)}")
        say(line.command)
    say(t("demo.ctrl_c"))
