"""`tongqu quarantine`: dirty rows with their cause and original."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

app = group()
_SHOWN = 40


@command(app, "list", "quarantine.list")
def list_rows(
    call: Call,
    where: Annotated[
        list[str] | None, typer.Argument(metavar="[SINK]...", help=t("quarantine.in"), show_default=False)
    ] = None,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help=t("quarantine.run"))] = "",
    stream: Annotated[str, typer.Option("--stream", metavar="STREAM", help=t("quarantine.stream"))] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("quarantine.limit"))] = 100,
) -> int:
    """List the newest dirty rows of the given sinks, or of all known ones."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services import quarantine

    wire = call.wire()
    document = quarantine.rows(_places(wire, where), wire.ends, run=run, stream=stream, limit=limit)
    call.answer(document, _show_list)
    return 0


@command(app, "show", "quarantine.show")
def show_row(
    call: Call,
    id: Annotated[str, typer.Argument(metavar="ID", help=t("quarantine.id"), show_default=False)],
    where: Annotated[
        list[str] | None, typer.Option("--in", metavar="SINK", help=t("quarantine.in"), show_default=False)
    ] = None,
) -> int:
    """Show one dirty row."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services import quarantine

    wire = call.wire()
    call.answer(quarantine.row(id, _places(wire, where), wire.ends), _show_one)
    return 0


def _places(wire: Wire, where: list[str] | None) -> list[str]:
    from tongqu.app.services.quarantine import places

    runs = None if where else wire.past_runs()
    try:
        return places(where or [], lambda: wire.project, runs)
    finally:
        if runs:
            runs.close()


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["rows"]:
        say(t("quarantine.none"))
        return
    names = ("id", "stream", "step", "code", "field", "value", "message")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [(str(row["id"]), *(_short(row[name]) for name in names[1:])) for row in document["rows"]]
    table(rows)


def _short(value: object) -> str:
    text = "" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _show_one(document: Mapping[str, Any]) -> None:
    for name, value in document["rows"][0].items():
        say(f"{t(f'column.{name}')}: {'' if value is None else value}")
