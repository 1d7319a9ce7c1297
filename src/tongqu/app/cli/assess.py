"""`tongqu assess CONNECTION`: a vendor's interface scored before it is bought, and its document watched afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

app = group()
_ATTENTION = 3
_SHOWN = 12


@command(app, "assess", "command.assess")
def assess(
    call: Call,
    *,
    connection: Annotated[
        str, typer.Argument(metavar="[CONNECTION]", help=t("assess.connection"), show_default=False)
    ] = "",
    openapi: Annotated[str, typer.Option("--openapi", metavar="FILE|URL", help=t("assess.openapi"))] = "",
    wsdl: Annotated[str, typer.Option("--wsdl", metavar="FILE|URL", help=t("assess.wsdl"))] = "",
    checklist: Annotated[
        list[str] | None,
        typer.Option("--checklist", metavar="NAME|FILE", help=t("assess.checklist"), show_default=False),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", metavar="FILE", help=t("assess.evidence"), show_default=False)
    ] = None,
    against: Annotated[str, typer.Option("--against", metavar="OLD.json|last", help=t("assess.against"))] = "",
    calls: Annotated[int, typer.Option("--calls", metavar="N", help=t("assess.calls_help"))] = 3,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help=t("assess.out"), show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help=t("assess.watch"))] = False,
) -> int:
    """Assess an interface, or watch its document."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.services.assessing.assessment import AssessRequest

    wire = call.wire()
    request = AssessRequest(connection, openapi, wsdl, tuple(checklist or ()), evidence, against, calls, out)
    with stoppable(wire.stop):
        if watch:
            document = wire.assessing().watch(request)
            call.answer(document, _show_changes)
            return _ATTENTION if document["breaking"] else 0
        document = wire.assessing().assess(request)
    call.answer(document, _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    from tongqu.app.services.assessing.tables import coverage_line
    from tongqu.app.services.assessing.words import percent, title_of

    about = document["interface"]
    say(f"{about['title'] or about['document']} {about['version']} ({about['protocol']})")
    lines = [(t("assess.column.axis"), t("assess.column.score"))]
    lines += [(t(f"assess.axis.{name}"), percent(axis["score"])) for name, axis in document["axes"].items()]
    table([*lines, (t("assess.score"), percent(document["score"]))])
    for one in document["coverage"]:
        say(coverage_line(one))
        for scenario in one["scenarios"]:
            if scenario["state"] != "covered":
                say(f"  {t('assess.state.' + scenario['state'])}: {title_of(scenario['title'])}")
    for one in document["findings"][:_SHOWN]:
        say(f"[{t('assess.severity.' + one['severity'])}] {one['message']}")
    if len(document["findings"]) > _SHOWN:
        say(t("assess.more", count=len(document["findings"]) - _SHOWN))
    if "comparison" in document:
        old, new = document["comparison"]["score"]["old"], document["comparison"]["score"]["new"]
        say(f"{t('assess.comparison', at=document['comparison']['against']['at'])}: {percent(old)} → {percent(new)}")
    say(t("assess.written", path=document["report"]["html"]))


def _show_changes(document: Mapping[str, Any]) -> None:
    if document["first"]:
        say(t("assess.first", document=document["document"]))
        return
    for one in document["changes"]:
        say(f"[{t('assess.breaking') if one['breaking'] else t('assess.harmless')}] {one['message']}")
    say(t("assess.watched", since=document["since"], breaking=document["breaking"], other=document["other"]))
