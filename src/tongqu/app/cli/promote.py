"""`tongqu promote FROM TO`: carries the version that counts in one environment over to another."""

from __future__ import annotations

from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group
from tongqu.app.cli.changing import show_plan, show_version, versioning
from tongqu.app.messages import t

app = group()


@command(app, "promote", "command.promote", audited=True)
def promote(
    call: Call,
    *,
    source: Annotated[str, typer.Argument(metavar="FROM", help=t("promote.from"), show_default=False)],
    target: Annotated[str, typer.Argument(metavar="TO", help=t("promote.to"), show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("apply.reason"))] = "",
    dry: Annotated[bool, typer.Option("--dry-run", help=t("promote.dry"))] = False,
    accept: Annotated[bool, typer.Option("--accept-breaking", help=t("apply.accept"))] = False,
) -> int:
    """Show the difference, and make it the next version of the other environment."""
    from tongqu.app.services.versioning import other

    with versioning(call.wire()) as mine:
        there = other(mine, "" if target == "default" else target)
        origin = "" if source == "default" else source
        if dry:
            made, found = there.promotion(origin)
            changes = [change.to_json() for change in found]
            call.answer({"version": made.parent, "env": there.env, "changes": changes, "targets": []}, show_plan)
            return 0
        document = there.promote(origin, reason, accept=accept)
    call.answer(document, show_version)
    return 0
