"""`tongqu audit`: who did and called what; whether the trail is as it was written; a copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, short, table
from tongqu.app.messages import t

if TYPE_CHECKING:
    from tongqu.app.services.auditing import Auditing

app = group()
Who = Annotated[str, typer.Option("--who", metavar="ID", help=t("audit.who"))]
What = Annotated[str, typer.Option("--what", metavar="WHAT", help=t("audit.what"))]
Kind = Annotated[str, typer.Option("--kind", metavar="KIND", help=t("audit.kind"))]
Since = Annotated[str, typer.Option("--since", metavar="TIME", help=t("audit.since"))]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help=t("audit.until"))]
Status = Annotated[str, typer.Option("--status", metavar="STATUS", help=t("audit.status"))]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("audit.limit"))]


@command(app, "show", "audit.show", managed=True)
def show(
    call: Call,
    *,
    who: Who = "",
    what: What = "",
    kind: Kind = "",
    status: Status = "",
    since: Since = "",
    until: Until = "",
    limit: Limit = 50,
) -> int:
    """Show the newest records."""
    wanted: dict[str, Any] = {"who": who, "what": what, "kind": kind, "outcome": status, "since": since, "until": until}
    call.answer(call.ask("audit.show", limit=limit, **wanted), lambda found: _show(found["records"]))
    return 0


@command(app, "verify", "audit.verify", managed=True)
def verify(call: Call) -> int:
    """Check that no record was changed, removed or moved."""
    document = call.ask("audit.verify")
    call.answer(document, _show_verdict)
    return 0 if document["ok"] else 1


@command(app, "export", "audit.export")
def export(
    call: Call,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=t("audit.file"), show_default=False)],
    *,
    who: Who = "",
    kind: Kind = "",
    since: Since = "",
    until: Until = "",
) -> int:
    """Write records into a file."""
    document = _service(call).export(file, who=who, kind=kind, since=since, until=until)
    call.answer(document, lambda done: say(t("audit.exported", count=done["records"], file=done["file"])))
    return 0


def calls(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help=t("audit.api"), show_default=False)],
    *,
    client: Annotated[str, typer.Option("--client", metavar="CLIENT", help=t("audit.client"))] = "",
    since: Since = "",
    status: Status = "",
    limit: Limit = 50,
) -> int:
    """Show the newest calls of an API (`tongqu api calls`)."""
    document = call.ask("api.calls", name=name, limit=limit, client=client, since=since, outcome=status)
    call.answer(document, lambda found: _show(found["calls"]))
    return 0


def usage(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", help=t("audit.api"), show_default=False)],
    version: Annotated[str, typer.Option("--version", metavar="V", help=t("audit.version"))] = "v1",
) -> int:
    """Show who used which field of an API (`tongqu api usage`)."""
    call.answer(call.ask("api.usage", name=name, version=version), _show_usage)
    return 0


def _service(call: Call) -> Auditing:
    from tongqu.app.services.auditing import Auditing

    wire = call.wire()
    return Auditing(wire.home, wire.scrubber)


def _show(records: list[Mapping[str, Any]]) -> None:
    names = ("at", "kind", "who", "what", "on", "outcome", "from")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for record in records:
        shown = {**record, "on": record.get("api") or record.get("on") or record.get("chain")}
        if record["kind"] == "refused":
            shown |= {"what": f"{record['count']} × {record['code']}", "from": record["sample"].get("from", "")}
        rows.append(tuple(short(shown.get(name)) or "—" for name in names))
    table(rows)


def _show_verdict(document: Mapping[str, Any]) -> None:
    bad = document["first_bad"]
    if bad:
        say(
            t(
                "audit.bad",
                chain=bad["chain"],
                day=bad["day"] or "—",
                seq=bad["seq"],
                reason=t(f"audit.reason.{bad['reason']}"),
            )
        )
    else:
        say(t("audit.good", records=document["records"], chains=document["chains"]))
    for gap in document["gaps"]:
        say(t("audit.gap", chain=gap["chain"], last=gap.get("last") or "—"))


def _show_usage(document: Mapping[str, Any]) -> None:
    names = ("client", "field", "count", "last")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    table([*rows, *(tuple(short(use[name]) or "—" for name in names) for use in document["uses"])])
