"""`tongqu quarantine`: dirty rows with their cause and original; mending them by rule and putting them in again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Around, Call, command, group, say, short, table, tell_problem
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

app = group()
_MOST = 20
"""Rows that are shown to people; `--json` has them all."""

Where = Annotated[list[str] | None, typer.Argument(metavar="[SINK]...", help=t("quarantine.in"), show_default=False)]
Run = Annotated[str, typer.Option("--run", metavar="RUN", help=t("quarantine.run"))]
Stream = Annotated[str, typer.Option("--stream", metavar="STREAM", help=t("quarantine.stream"))]
Code = Annotated[str, typer.Option("--code", metavar="CODE", help=t("quarantine.code"))]
Field = Annotated[str, typer.Option("--field", metavar="FIELD", help=t("quarantine.field"))]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help=t("quarantine.ids"), show_default=False)]
State = Annotated[str, typer.Option("--state", metavar="STATE", help=t("quarantine.state"))]


@command(app, "list", "quarantine.list", managed=True)
def list_rows(
    call: Call,
    *,
    where: Where = None,
    run: Run = "",
    stream: Stream = "",
    code: Code = "",
    field: Field = "",
    state: State = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("quarantine.limit"))] = 100,
) -> int:
    """List the newest dirty rows of the given sinks, or of all known ones."""
    hide_passwords(sys.argv[1:])
    given = {"run": run, "stream": stream, "code": code, "field": field, "state": state, "limit": limit}
    call.answer(_asked(call, "quarantine.list", where, given), _show_list)
    return 0


@command(app, "show", "quarantine.show", managed=True)
def show_row(
    call: Call,
    id: Annotated[str, typer.Argument(metavar="ID", help=t("quarantine.id"), show_default=False)],
    where: Annotated[
        list[str] | None, typer.Option("--in", metavar="SINK", help=t("quarantine.in"), show_default=False)
    ] = None,
) -> int:
    """Show one dirty row."""
    hide_passwords(sys.argv[1:])
    call.answer(_asked(call, "quarantine.show", where, {"id": id}), _show_one)
    return 0


@command(app, "fix", "quarantine.fix", audited=True, managed=True)
def fix(
    call: Call,
    *,
    where: Where = None,
    rules: Annotated[list[str], typer.Option("--rule", metavar="RULE", help=t("quarantine.rule"), show_default=False)],
    run: Run = "",
    stream: Stream = "",
    code: Code = "",
    field: Field = "",
    ids: Ids = None,
    state: State = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help=t("quarantine.dry_run"))] = False,
) -> int:
    """Mend dirty rows by rule; what would be no better is refused."""
    hide_passwords(sys.argv[1:])
    given = {"run": run, "stream": stream, "code": code, "field": field, "ids": ids or [], "state": state}
    document = _asked(call, "quarantine.fix", where, {**given, "rules": rules, "dry_run": dry_run})
    if document["fixed"] or document["discarded"] or not document["still_bad"]:
        call.answer(document, _show_fix)
        return 3 if document["still_bad"] else 0
    reason = next(row["reason"] for row in document["rows"] if "reason" in row)
    problem = {"path": "--rule", "code": "data.fix_refused", "message": reason, "hint": t("quarantine.fix_hint")}
    call.answer({"ok": False, "problems": [problem], **document}, _show_fix)
    tell_problem(problem)
    return 1


@command(app, "replay", "quarantine.replay", audited=True, managed=True)
def replay(
    call: Call,
    *,
    where: Where = None,
    run: Run = "",
    stream: Stream = "",
    code: Code = "",
    field: Field = "",
    ids: Ids = None,
    state: State = "",
) -> int:
    """Put mended rows in again."""
    hide_passwords(sys.argv[1:])
    given = {"run": run, "stream": stream, "code": code, "field": field, "ids": ids or [], "state": state}
    from tongqu.app.cli.stopping import stoppable

    document = _asked(call, "quarantine.replay", where, given, stoppable)
    call.answer(document, _show_replay)
    left = ("still_bad", "superseded", "waiting", "more")
    return 3 if any(document[name] for name in left) else 0


def _asked(
    call: Call, operation: str, where: list[str] | None, given: Mapping[str, Any], around: Around | None = None
) -> Mapping[str, Any]:
    """Through a server where sinks are named by their connections; addresses are only ever opened from here."""
    local = any(":" in place for place in where or ())
    return call.ask(operation, local=local, around=around, where=where or [], **given)


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["rows"]:
        say(t("quarantine.none"))
        return
    names = ("id", "stream", "step", "code", "field", "value", "message", "state")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [(str(row["id"]), *(short(row[name]) for name in names[1:])) for row in document["rows"]]
    table(rows)


def _show_one(document: Mapping[str, Any]) -> None:
    for name, value in document["rows"][0].items():
        say(f"{t(f'column.{name}')}: {'' if value is None else value}")


def _show_fix(document: Mapping[str, Any]) -> None:
    for row in document["rows"][:_MOST]:
        if document["dry_run"] or "reason" in row:
            say(row["id"])
            say("  - " + str(row["before"]))
            say("  ! " + row["reason"] if "reason" in row else "  + " + str(row["after"]))
    id = "quarantine.would_fix" if document["dry_run"] else "quarantine.fixed"
    numbers = {"fixed": document["fixed"], "refused": document["still_bad"], "discarded": document["discarded"]}
    say(t("quarantine.would_fix", **numbers) if id == "quarantine.would_fix" else t("quarantine.fixed", **numbers))


def _show_replay(document: Mapping[str, Any]) -> None:
    for row in document["rows"][:_MOST]:
        say(f"{row['id']}: {row['message']}")
    numbers = {name: value for name, value in document.items() if isinstance(value, int)}
    say(t("quarantine.replayed", **numbers))
