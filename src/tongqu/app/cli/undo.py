"""`tongqu undo DST --table T`: puts back the generation that the last replace replaced."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

app = group()


@command(app, "undo", "command.undo", audited=True)
def undo(
    call: Call,
    *,
    sink: Annotated[str, typer.Argument(metavar="DST", help=t("undo.sink"), show_default=False)],
    tables: Annotated[list[str], typer.Option("--table", metavar="T", help=t("undo.table"), show_default=False)],
) -> int:
    """Put back the generation before the last replace of each table."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.cli.moving import command_line
    from tongqu.app.services.execution import Recorder, Run
    from tongqu.app.services.undoing import undo as put_back
    from tongqu.app.wire import new_id

    wire = call.wire()
    end = wire.ends.end(sink)
    kept = (end.kept,) if end.kept else ()
    recorder = Recorder(Run("undo", command_line(), kept), wire.runs, wire.scrubber)
    try:
        document = put_back(end, tables, recorder, wire.scrubber, new_id())
    finally:
        wire.touching(end.name, tables)
    call.answer(document, _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    for table in document["tables"]:
        say(t("undo.done", name=table["name"], rows=f"{table['rows']:,}"))
