"""`tongqu record`: what recordings of HTTP traffic hold, and personal data masked in them afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()
_ATTENTION = 3


@command(app, "list", "record.list")
def list_(
    call: Call,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help=t("record.folder"), show_default=False)] = None,
) -> int:
    """List the recordings of a folder."""
    from tongqu.app.services.recording import listed

    document = listed(folder if folder is not None else call.wire().home.path)
    call.answer(document, _show_list)
    return 0


@command(app, "show", "record.show")
def show(
    call: Call, file: Annotated[Path, typer.Argument(metavar="FILE", help=t("record.file"), show_default=False)]
) -> int:
    """Show the calls of a recording."""
    from tongqu.app.services.recording import shown

    document = shown(file)
    call.answer(document, _show)
    return _ATTENTION if document["unmasked"] else 0


@command(app, "scrub", "record.scrub")
def scrub(
    call: Call,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=t("record.file"), show_default=False)],
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="NAME", help=t("record.field"), show_default=False)
    ] = None,
) -> int:
    """Mask personal data in a recording."""
    from tongqu.app.services.recording import scrubbed

    document = scrubbed(file, field or ())
    call.answer(document, _show_scrubbed)
    return _ATTENTION if document["unmasked"] else 0


def _show_list(document: Mapping[str, Any]) -> None:
    rows: list[tuple[str, ...]] = [(t("column.name"), t("record.calls"), t("record.unmasked"))]
    rows += [(one["file"], str(one["calls"]), ", ".join(one["unmasked"]) or "-") for one in document["recordings"]]
    table(rows)


def _show(document: Mapping[str, Any]) -> None:
    for one in document["entries"]:
        say(f"{one['method']} {one['url']} → {one['status']} ({one['bytes']} B)")
    if document["unmasked"]:
        say(t("record.has_unmasked", fields=", ".join(document["unmasked"]), file=document["file"]))


def _show_scrubbed(document: Mapping[str, Any]) -> None:
    say(t("record.scrubbed", changed=document["changed"], file=document["file"]))
    if document["unmasked"]:
        say(t("record.still", fields=", ".join(document["unmasked"])))
