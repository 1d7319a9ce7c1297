"""`tongqu runs`: what ran, how it went, its plan and its log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()


@command(app, "list", "runs.list", managed=True)
def list_runs(
    call: Call,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("runs.limit"))] = 50,
    status: Annotated[str, typer.Option("--status", metavar="STATUS", help=t("runs.status"))] = "",
) -> int:
    """List the newest runs."""
    call.answer(call.ask("runs.list", limit=limit, status=status), _show_list)
    return 0


@command(app, "show", "runs.show", managed=True)
def show_run(
    call: Call,
    run: Annotated[str, typer.Argument(metavar="RUN", help=t("runs.run"), show_default=False)],
) -> int:
    """Show one run: its plan and counts."""
    call.answer(call.ask("runs.show", run=run), _show_one)
    return 0


@command(app, "logs", "runs.logs", managed=True)
def show_logs(
    call: Call,
    run: Annotated[str, typer.Argument(metavar="RUN", help=t("runs.run"), show_default=False)],
) -> int:
    """Show the log of one run."""
    call.answer(call.ask("runs.logs", run=run), _show_logs)
    return 0


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["runs"]:
        say(t("runs.none"))
        return
    names = ("run", "status", "started", "read", "written", "quarantined", "command")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for run in document["runs"]:
        shown = {**run, "status": t(f"status.{run['status']}")}
        rows.append(tuple(f"{shown[n]:,}" if isinstance(shown[n], int) else str(shown[n]) for n in names))
    table(rows)


def _show_one(document: Mapping[str, Any]) -> None:
    from tongqu.app.progress import summary

    for name in ("run", "status", "command", "started", "finished", "attempts", "host", "pid"):
        value = t(f"status.{document['status']}") if name == "status" else document.get(name)
        say(f"{t(f'column.{name}')}: {'' if value is None else value}")
    for plan in document["plan"]:
        why = f" — {plan['reason']}" if plan.get("reason") else ""
        say(f"{plan['stream']}: {plan['mode']} → {plan['write']}, {plan['lane']}{why}")
    if document["streams"]:
        table(summary(document))
    for problem in document.get("problems", []):
        say(t("problem.error", message=problem["message"], code=problem["code"]))


def _show_logs(document: Mapping[str, Any]) -> None:
    for line in document["lines"]:
        rest = {key: value for key, value in line.items() if key not in ("at", "level", "event")}
        say(f"{line['at']} {line['level']:7} {line['event']} {json.dumps(rest, ensure_ascii=False)}")
