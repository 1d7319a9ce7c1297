"""`tongqu check [CONNECTION…]`: validates the project's files and tests connections stage by stage."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, tell_problem
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t, translated

app = group()


@command(app, "check", "command.check")
def check(
    call: Call,
    connections: Annotated[
        list[str] | None, typer.Argument(metavar="[CONNECTION]...", help=t("check.connections"), show_default=False)
    ] = None,
    record: Annotated[Path | None, typer.Option("--record", metavar="DIR", help=t("record.record"))] = None,
    replay: Annotated[Path | None, typer.Option("--replay", metavar="DIR", help=t("record.replay"))] = None,
) -> int:
    """Test the named connections, or all of the project."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services.checking import check as test
    from tongqu.app.services.pointing import Known

    wire = call.wire()
    wire.record(record, replay)
    document = test(connections or [], wire.ends, lambda: wire.project, wire.scrubber, Known.of(wire))
    if not connections and wire.project.apis:
        from tongqu.app.services.apis import checked

        document = checked(wire, document)
    shown = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(shown, _show)
    for problem in document["problems"]:
        tell_problem(problem)
    return 0 if document["ok"] else 1


def _show(document: Mapping[str, Any]) -> None:
    for found in document["connections"]:
        mark = "✓" if found["ok"] else "✗"
        say(f"{mark} {found['name']} ({found['type']}): {' → '.join(found['stages']) or '-'}")
    say(t("check.good" if document["ok"] else "check.bad"))
