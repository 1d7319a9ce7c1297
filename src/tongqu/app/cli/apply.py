"""`tongqu apply`: makes the project's files the version that counts."""

from __future__ import annotations

from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group
from tongqu.app.cli.changing import show_version
from tongqu.app.messages import t

app = group()


@command(app, "apply", "command.apply", audited=True, managed=True)
def apply(
    call: Call,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("apply.reason"))] = "",
    parent: Annotated[
        int | None, typer.Option("--parent", metavar="N", min=0, help=t("apply.parent"), show_default=False)
    ] = None,
    accept: Annotated[bool, typer.Option("--accept-breaking", help=t("apply.accept"))] = False,
) -> int:
    """Make the next version; a stale parent is refused."""
    call.answer(call.ask("apply", reason=reason, parent=parent, accept=accept), show_version)
    return 0
