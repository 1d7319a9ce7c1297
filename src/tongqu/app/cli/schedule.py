"""`tongqu schedule`: what runs when, and running it now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("schedule.name"), show_default=False)]


@command(app, "list", "schedule.list", managed=True)
def list_schedules(call: Call) -> int:
    """List all schedules."""
    call.answer(call.ask("schedule.list"), _show)
    return 0


@command(app, "next", "schedule.next", managed=True)
def next_moments(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=t("schedule.name"), show_default=False)] = "",
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, max=1000, help=t("schedule.count"))] = 10,
) -> int:
    """Show the next moments."""
    call.answer(call.ask("schedule.next", name=name, count=count), _show_next)
    return 0


@command(app, "pause", "schedule.pause", audited=True, managed=True)
def pause(call: Call, name: Name) -> int:
    """Stop a schedule."""
    call.answer(call.ask("schedule.pause", name=name), lambda told: say(t("schedule.paused", name=told["name"])))
    return 0


@command(app, "resume", "schedule.resume", audited=True, managed=True)
def resume(call: Call, name: Name) -> int:
    """Let a schedule go on."""
    call.answer(call.ask("schedule.resume", name=name), lambda told: say(t("schedule.resumed", name=told["name"])))
    return 0


@command(app, "trigger", "schedule.trigger", audited=True, managed=True)
def trigger(call: Call, name: Name) -> int:
    """Run it now."""
    call.answer(call.ask("schedule.trigger", name=name), show_queued)
    return 0


@command(app, "event", "schedule.event", audited=True, managed=True)
def event(
    call: Call, name: Annotated[str, typer.Argument(metavar="EVENT", help=t("schedule.event_name"), show_default=False)]
) -> int:
    """Tell of an event."""
    call.answer(call.ask("schedule.event", name=name), show_queued)
    return 0


def show_queued(document: Mapping[str, Any]) -> None:
    """Jobs that were put in, for people."""
    for job in document["jobs"]:
        say(t("runs.queued", job=job["job"], name=job["name"], state=t(f"status.{job['state']}")))


def _show(document: Mapping[str, Any]) -> None:
    if not document["schedules"]:
        say(t("schedule.none"))
        return
    names = ("name", "starts", "next", "last", "status")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["schedules"]:
        state = t("status.paused") if one["paused"] else t("status.waiting")
        rows.append((one["name"], one["starts"], next(iter(one["next"]), ""), one["last"] or "", state))
    table(rows)


def _show_next(document: Mapping[str, Any]) -> None:
    for one in document["schedules"]:
        say(f"{one['name']}: {one['starts']}")
        for moment in one["next"]:
            say(f"  {moment}")
