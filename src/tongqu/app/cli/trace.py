"""`tongqu trace CONNECTION DATASET COLUMN=VALUE…`: where a row came from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t
from tongqu.core.errors import NotFoundError

app = group()


@command(app, "trace", "command.trace")
def trace(
    call: Call,
    place: Annotated[str, typer.Argument(metavar="CONNECTION", help=t("trace.place"), show_default=False)],
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=t("trace.dataset"), show_default=False)],
    row: Annotated[list[str], typer.Argument(metavar="COLUMN=VALUE...", help=t("trace.row"), show_default=False)],
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help=t("trace.limit"))] = 20,
    show_personal: Annotated[bool, typer.Option("--show-personal", help=t("trace.show_personal"))] = False,
) -> int:
    """Show the source rows, runs and versions behind a row."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.project.load import MAIN
    from tongqu.app.services.lineage import recorded
    from tongqu.app.services.tracing import Tracing, closed_fields, conditions, masked

    where = conditions(row)
    wire = call.wire()
    runs = wire.past_runs()
    if runs is None:
        raise NotFoundError(t("trace.nothing"), hint=t("runs.nothing"))
    with closing(runs):
        flows = recorded(runs)
        document = Tracing(wire.ends, flows, runs, wire.scrubber, limit=limit).trace(place, dataset, where)
    if not show_personal:
        project = wire.project if (wire.folder / MAIN).is_file() else None
        document = masked(document, closed_fields(project, flows))
    call.answer(document, _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    target = document["target"]
    _show_rows(target, 0)
    if not document["flows"]:
        say(t("trace.nothing"))
    for flow in document["flows"]:
        _show_flow(flow, 1)


def _show_flow(flow: Mapping[str, Any], depth: int) -> None:
    indent = "  " * depth
    steps = " → ".join(flow["steps"]) or "-"
    version = t("trace.version", version=flow["version"]) if flow["version"] else ""
    say(f"{indent}← {flow['pipeline']} ({flow['mode']} → {flow['write']}; {steps})")
    say(f"{indent}  {t('trace.run', run=flow['run'], at=flow['at'])}{version}")
    for source in flow["sources"]:
        _show_rows(source, depth + 1)
        for upstream in source.get("flows", ()):
            _show_flow(upstream, depth + 2)


def _show_rows(found: Mapping[str, Any], depth: int) -> None:
    indent = "  " * depth
    say(f"{indent}{found['connection']}.{found['dataset']}: {t('trace.rows', count=found['count'])}")
    for row in found["rows"]:
        say(f"{indent}  " + ", ".join(f"{name}={value}" for name, value in row.items()))
    if found.get("note"):
        say(f"{indent}  ! {found['note']}")
