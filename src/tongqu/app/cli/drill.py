"""`tongqu drill --points`: the places where a run can be made to die, for tests of crash safety."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, table
from tongqu.app.messages import t

app = group()


@command(app, "drill", "command.drill")
def drill(call: Call, points: Annotated[bool, typer.Option("--points", help=t("drill.points"))] = False) -> int:
    """List the crash points."""
    from tongqu.kit.faults import POINTS

    if not points:
        raise typer.BadParameter(t("drill.needs_points"), param_hint="--points")
    call.answer({"points": [{"name": name, "description": text} for name, text in POINTS.items()]}, _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    table([(t("column.name"), t("column.description")), *((p["name"], p["description"]) for p in document["points"])])
