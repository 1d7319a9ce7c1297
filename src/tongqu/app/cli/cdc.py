"""`tongqu cdc doctor`: is a change log fit to be followed, how far behind is it, and when would it be lost?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, tell_problem
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t, translated

app = group()
_NEEDS_ATTENTION = 3
_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


@command(app, "doctor", "cdc.doctor")
def doctor(
    call: Call,
    connections: Annotated[
        list[str] | None, typer.Argument(metavar="[CONNECTION|URL]...", help=t("cdc.connections"), show_default=False)
    ] = None,
    tables: Annotated[list[str] | None, typer.Option("--table", metavar="T", help=t("cdc.table"))] = None,
) -> int:
    """Examine change logs: settings, rights, tables, lag and time to loss; exit 3 if something must be mended."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services.cdc import doctor as examine

    wire = call.wire()
    document = examine(connections or [], tables or [], wire.ends, lambda: wire.project, wire.scrubber)
    shown = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(shown, _show)
    for problem in document["problems"]:
        tell_problem(problem)
    if document["problems"]:
        return 1
    return 0 if document["ok"] else _NEEDS_ATTENTION


@command(app, "forget", "cdc.forget", audited=True)
def forget(
    call: Call,
    connections: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONNECTION]...", help=t("cdc.forget.connections"), show_default=False),
    ] = None,
) -> int:
    """Give up the logs that systems keep for pipelines that were removed."""
    from tongqu.app.services.cdc import forget as give_up

    wire = call.wire()
    document = give_up(connections or [], wire.ends, lambda: wire.project, wire.scrubber)
    shown = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(shown, _show_forgotten)
    for problem in document["problems"]:
        tell_problem(problem)
    return 0 if document["ok"] else 1


def _show_forgotten(document: Mapping[str, Any]) -> None:
    for one in document["forgotten"]:
        say(f"{one['connection']}: {one['log']} ({one['pipeline']})")


def _show(document: Mapping[str, Any]) -> None:
    for connection in document["connections"]:
        say(f"{connection['name']} ({connection['type']})")
        for finding in connection["findings"]:
            say(f"  {_MARKS[finding['state']]} {finding['what']}: {finding['found']}")
            if finding["fix"]:
                say(f"      → {finding['fix']}")
    say(t("check.good" if document["ok"] else "check.bad"))
