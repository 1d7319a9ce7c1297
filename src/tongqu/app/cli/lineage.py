"""`tongqu lineage FIELD`: where a field comes from and where it goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()


@command(app, "lineage", "command.lineage")
def lineage(
    call: Call,
    *,
    name: Annotated[str, typer.Argument(metavar="FIELD", help=t("lineage.field"), show_default=False)] = "",
    up: Annotated[bool, typer.Option("--up", help=t("lineage.up"))] = False,
    down: Annotated[bool, typer.Option("--down", help=t("lineage.down"))] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help=t("lineage.html"), show_default=False)
    ] = None,
    openlineage: Annotated[
        Path | None, typer.Option("--openlineage", metavar="FILE", help=t("lineage.openlineage"), show_default=False)
    ] = None,
) -> int:
    """Show the fields around a field, or export everything."""
    from tongqu.app.services import lineage as service
    from tongqu.app.services import reports

    if not name and openlineage is None:
        raise typer.BadParameter(t("lineage.what"), param_hint="FIELD")
    runs = call.wire().past_runs()
    try:
        if openlineage is not None:
            events = service.exported(runs)
            lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
            reports.write(openlineage, lines)
            if not name:
                call.answer({"events": len(events), "file": str(openlineage)}, lambda d: say(t("lineage.out", **d)))
                return 0
        document = service.around(runs, name, up=up or not down, down=down or not up)
    finally:
        if runs:
            runs.close()
    if html is not None:
        from tongqu.app.services.picture import page

        reports.write(html, page(name, document))
    call.answer(document, _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    names = ("from", "to", "pipeline", "steps", "at")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for edge in document["edges"]:
        rows.append((edge["from"], edge["to"], edge["pipeline"], " → ".join(edge["steps"]), edge["at"]))
    table(rows)
