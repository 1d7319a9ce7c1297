"""`tongqu plan`: what applying the project's files would change, before anything is changed."""

from __future__ import annotations

from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group, tell_problem
from tongqu.app.cli.changing import show_plan, versioning
from tongqu.app.messages import t

app = group()


@command(app, "plan", "command.plan")
def plan(
    call: Call,
    offline: Annotated[bool, typer.Option("--offline", help=t("plan.offline"))] = False,
    every: Annotated[bool, typer.Option("--all", help=t("plan.all"))] = False,
    detailed: Annotated[bool, typer.Option("--detailed-exit-code", help=t("plan.detailed"))] = False,
    accept: Annotated[bool, typer.Option("--accept-breaking", help=t("apply.accept"))] = False,
) -> int:
    """Show changes, who is downstream, and what would happen to the tables that are written."""
    from tongqu.app.services.contracting import refusal
    from tongqu.app.services.planning import plan as planned

    wire = call.wire()
    with versioning(wire) as mine:
        document = planned(mine, wire.ends, offline=offline, every=every)
    refused = None if accept else refusal(document["contracts"])
    call.answer({**document, "problems": [refused.problem()] if refused else []}, show_plan)
    if refused:
        tell_problem(refused.problem())
        return refused.exit_code
    return 3 if detailed and document["changes"] else 0
