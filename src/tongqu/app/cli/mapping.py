"""`tongqu mapping`: mapping sheets in Excel or CSV, suggested for a source and shown as steps."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import language, t

app = group()


@command(app, "suggest", "mapping.suggest")
def suggest(
    call: Call,
    source: Annotated[str, typer.Argument(metavar="SRC", help=t("mapping.source"), show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help=t("mapping.dataset"), show_default=False)],
    from_: Annotated[str, typer.Option("--table", metavar="T", help=t("mapping.table"))] = "",
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help=t("mapping.out"))] = Path("mapping.xlsx"),
) -> int:
    """Write a mapping sheet with suggestions; 3 if fields on either side found no partner."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.services.mapping import suggested

    wire = call.wire()
    document = suggested(wire.ends.end(source), wire.project, dataset, table=from_, out=out, language=language())
    call.answer(document, _show)
    return 3 if document["missing"] or document["unmapped"] else 0


def _show(document: Mapping[str, Any]) -> None:
    names = ("source", "standard", "confidence", "reason")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [tuple(str(match[name]) for name in names) for match in document["mapping"]]
    table(rows)
    if document["unmapped"]:
        say(t("mapping.unmapped", names=", ".join(document["unmapped"])))
    if document["missing"]:
        say(t("mapping.missing", names=", ".join(document["missing"])))
    say(t("mapping.written", file=document["file"]))


@command(app, "apply", "mapping.apply")
def apply(
    call: Call,
    sheet: Annotated[Path, typer.Argument(metavar="SHEET", help=t("mapping.sheet"), show_default=False)],
) -> int:
    """Check a mapping sheet and show the steps it stands for."""
    from tongqu.app.services.mapping import applied

    call.answer(applied(sheet), _show_steps)
    return 0


def _show_steps(document: Mapping[str, Any]) -> None:
    from ruamel.yaml import YAML

    buffer = io.StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump({name: value for name, value in document.items() if value}, buffer)
    say(buffer.getvalue().rstrip())
