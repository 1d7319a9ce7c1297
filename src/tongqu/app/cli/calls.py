"""`tongqu calls`: what was sent to systems without transactions, and what became of it; undoing and repeating it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, short, table
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

if TYPE_CHECKING:
    from tongqu.app.wire import Wire
    from tongqu.kit.remote.calls import Which

app = group()
_MOST = 20
"""Calls that are shown to people; `--json` has them all."""
_ALL = 1_000_000

Where = Annotated[list[str] | None, typer.Argument(metavar="[SINK]...", help=t("calls.in"), show_default=False)]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help=t("calls.run"))]
Stream = Annotated[str, typer.Option("--stream", metavar="STREAM", help=t("calls.stream"))]
Outcome = Annotated[str, typer.Option("--outcome", metavar="OUTCOME", help=t("calls.outcome"))]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help=t("calls.ids"), show_default=False)]


@command(app, "list", "calls.list")
def list_calls(
    call: Call,
    *,
    where: Where = None,
    run: Run = "",
    stream: Stream = "",
    outcome: Outcome = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("calls.limit"))] = 100,
) -> int:
    """List the newest calls of the given sinks, or of all known ones."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services import calls

    wire = call.wire()
    which = _which(run, stream, outcome, None, limit)
    call.answer(calls.rows(_places(wire, where), wire.ends, which), _show_list)
    return 0


@command(app, "show", "calls.show")
def show_call(
    call: Call,
    id: Annotated[str, typer.Argument(metavar="ID", help=t("calls.id"), show_default=False)],
    where: Annotated[
        list[str] | None, typer.Option("--in", metavar="SINK", help=t("calls.in"), show_default=False)
    ] = None,
) -> int:
    """Show one call."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services import calls

    wire = call.wire()
    call.answer(calls.row(id, _places(wire, where), wire.ends), _show_one)
    return 0


@command(app, "undo", "calls.undo", audited=True)
def undo(call: Call, *, where: Where = None, run: Run = "", stream: Stream = "", ids: Ids = None) -> int:
    """Take back calls that went through."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services import calls

    _some(run, ids)
    wire = call.wire()
    document = calls.undo(_places(wire, where), wire.ends, _which(run, stream, "ok" if not ids else "", ids, _ALL))
    call.answer(document, _show_handled)
    return 0 if document["ok"] else 3


@command(app, "retry", "calls.retry", audited=True)
def retry(
    call: Call, *, where: Where = None, run: Run = "", stream: Stream = "", outcome: Outcome = "", ids: Ids = None
) -> int:
    """Make calls again that were refused or are of unknown outcome."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services import calls

    _some(run, ids)
    wire = call.wire()
    which = _which(run, stream, outcome or ("" if ids else "failed,unknown"), ids, _ALL)
    document = calls.retry(_places(wire, where), wire.ends, which)
    call.answer(document, _show_handled)
    return 0 if document["ok"] else 3


def _some(run: str, ids: list[str] | None) -> None:
    """Nothing is undone or sent because nothing was named."""
    from tongqu.core.errors import InvalidSettingsError

    if not run and not ids:
        raise InvalidSettingsError(
            "which calls are meant?", path="--id", hint="name calls with --id, or a run with --run"
        )


def _which(run: str, stream: str, outcome: str, ids: list[str] | None, limit: int) -> Which:
    from tongqu.app.services.calls import outcomes
    from tongqu.kit.remote.calls import Which

    return Which(run=run, stream=stream, outcomes=outcomes(outcome), ids=tuple(ids or ()), limit=limit)


def _places(wire: Wire, where: list[str] | None) -> list[str]:
    from tongqu.app.services.sinks import meant

    return meant(where or [], lambda: wire.project, wire.past_runs)


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["calls"]:
        say(t("calls.none"))
        return
    names = ("id", "stream", "op", "key", "outcome", "status", "undo", "detail", "at")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [(str(row["id"]), *(short(row[name]) for name in names[1:])) for row in document["calls"]]
    table(rows)


def _show_one(document: Mapping[str, Any]) -> None:
    names = ("number", "target", "run", "call", "done", "peer", "attempts", "row", "sink")
    titles = {name: t(f"column.{name}") for name in names}
    for name, value in document["calls"][0].items():
        say(f"{titles.get(name) or t(f'column.{name}')}: {'' if value is None else value}")


def _show_handled(document: Mapping[str, Any]) -> None:
    for one in document["calls"][:_MOST]:
        say(f"{one['id']}: {one['state']}{': ' if one['message'] else ''}{one['message']}")
    say(t("calls.handled", done=document["done"], not_done=document["not_done"]))
