"""`tongqu profile URL --table T`: what is in a dataset, as a table, a report with charts, and a draft entry."""

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


@command(app, "profile", "command.profile")
def profile(
    call: Call,
    *,
    place: Annotated[str, typer.Argument(metavar="URL", help=t("profile.place_help"), show_default=False)],
    name: Annotated[str, typer.Option("--table", metavar="T", help=t("profile.table"))] = "",
    sample: Annotated[int | None, typer.Option("--sample", metavar="N", help=t("profile.sample"))] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help=t("profile.top_help"))] = 10,
    compare: Annotated[str, typer.Option("--compare", metavar="ID|last", help=t("profile.compare"))] = "",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help=t("profile.html"), show_default=False)
    ] = None,
    draft: Annotated[
        Path | None, typer.Option("--draft", metavar="FILE", help=t("profile.draft"), show_default=False)
    ] = None,
    show_personal: Annotated[bool, typer.Option("--show-personal", help=t("profile.show_personal"))] = False,
) -> int:
    """Profile one dataset."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.services.profiling import ProfileRequest

    wire = call.wire()
    request = ProfileRequest(
        place, name, sample=sample, top=top, compare=compare, show_personal=show_personal, html=html, draft=draft
    )
    with stoppable(wire.stop):
        document = wire.profiling().profile(request)
    call.answer(document, _show)
    for path in (html, draft):
        if path is not None and not call.json:
            say(t("profile.written", path=path))
    return 0


def _show(document: Mapping[str, Any]) -> None:
    rows = f"{document['rows']:,}" + (f" ({t('profile.sampled')})" if document["sampled"] else "")
    say(f"{document['dataset']}: {rows}")
    names = ("name", "type", "nulls", "distinct", "min", "max")
    lines: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in (*names, "notes"))]
    for column in document["columns"]:
        about = "" if column["distinct_exact"] else "≈ "
        lines.append(
            (
                column["name"], column["type"], f"{column['nulls']:,}", f"{about}{column['distinct']:,}",
                _short(column["min"]), _short(column["max"]), _notes(column),
            )
        )  # fmt: skip
    table(lines)
    say(f"{t('profile.keys')}: {'; '.join(', '.join(key) for key in document['keys']) or '—'}")
    if document["unreadable"]:
        say(t("profile.unreadable", rows=f"{document['unreadable']:,}"))
    for change in document.get("changes", ()):
        what = t(f"profile.what.{change['what']}")
        say(f"{change['column'] or document['dataset']}: {what}: {_short(change['old'])} → {_short(change['new'])}")
    if document.get("changes") == []:
        say(t("profile.no_changes"))


def _notes(column: Mapping[str, Any]) -> str:
    notes = [
        f"{t(f'profile.what.{what}')}: {column[what]['value']} ({column[what]['confidence']:.0%})"
        for what in ("unit", "personal")
        if column[what]
    ]
    notes += [f"{name} {share:.0%}" for name, share in list(column["kinds"].items())[:2]]
    notes += [f"{found['pattern']} {found['share']:.0%}" for found in column["patterns"][:1]]
    return "; ".join(notes)


def _short(value: Any) -> str:
    if value is None:
        return "—"
    text = f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", " ")
    return text if len(text) <= 32 else text[:31] + "…"
