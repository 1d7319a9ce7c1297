"""`tongqu diff SRC DST --table T`: proves two systems equal, or shows and repairs the rows that differ."""

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


@command(app, "diff", "command.diff", audited="repair")
def diff(
    call: Call,
    *,
    left: Annotated[str, typer.Argument(metavar="[SRC|NAME]", help=t("diff.left"), show_default=False)] = "",
    right: Annotated[str, typer.Argument(metavar="[DST]", help=t("diff.right"), show_default=False)] = "",
    tables: Annotated[list[str] | None, typer.Option("--table", metavar="T[=TARGET]", help=t("diff.table"))] = None,
    key: Annotated[list[str] | None, typer.Option("--key", metavar="K", help=t("diff.key"))] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help=t("diff.no_key"))] = False,
    columns: Annotated[list[str] | None, typer.Option("--columns", metavar="C", help=t("diff.columns"))] = None,
    where: Annotated[str, typer.Option("--where", metavar="EXPR", help=t("diff.where"))] = "",
    tolerance: Annotated[float, typer.Option("--tolerance", metavar="X", help=t("diff.tolerance"))] = 0.0,
    repair: Annotated[bool, typer.Option("--repair", help=t("diff.repair"))] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=t("diff.dry_run"))] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", metavar="FILE", help=t("diff.certificate"), show_default=False)
    ] = None,
    show_personal: Annotated[bool, typer.Option("--show-personal", help=t("trace.show_personal"))] = False,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help=t("diff.verify"), show_default=False)
    ] = None,
) -> int:
    """Compare tables of two systems; exit 3 if rows differ."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.project.load import MAIN
    from tongqu.app.services import diffing
    from tongqu.app.services.hiding import hidden
    from tongqu.app.services.syncing import columns as listed
    from tongqu.catalog.agreement import Wish
    from tongqu.core.errors import InvalidSettingsError

    if verify is not None:
        call.answer(diffing.verify(verify), _show_certificate)
        return 0
    if not left:
        raise InvalidSettingsError(t("diff.nothing"), path="SRC", hint="tongqu diff SRC DST --table T")
    chosen = tuple(part.strip() for text in columns or () for part in text.split(",") if part.strip())
    wish = Wish(columns=chosen, key=listed(key or ()), bag=no_key, tolerance=tolerance, where=where)
    request = diffing.DiffRequest(
        left, right, tuple(tables or ()), wish, repair=repair, dry_run=dry_run, certificate=certificate
    )
    wire = call.wire()
    if not right:
        request = diffing.of_entry(wire.project.reconciliation(left), request)
    with stoppable(wire.stop):
        document = wire.comparing(_command_line()).diff(request)
    if not show_personal and (wire.folder / MAIN).is_file():
        document = hidden(document, wire.project)
    call.answer(document, _show)
    return 0 if document["ok"] else 3


def _command_line() -> str:
    from tongqu.app.cli.moving import command_line

    return command_line()


def _show(document: Mapping[str, Any]) -> None:
    names = ("name", "same", "missing", "extra", "different")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for found in document["tables"]:
        rows.append((found["name"], *(f"{found[name]:,}" for name in names[1:])))
    table(rows)
    for found in document["tables"]:
        _details(found)
    say(t("diff.good") if document["ok"] else t("diff.bad"))
    say(t("diff.written", path=document["certificate"]))


def _details(found: Mapping[str, Any]) -> None:
    for example in found["examples"]:
        key = ", ".join(map(str, example["key"]))
        values = (f"{name}: {side['left']} | {side['right']}" for name, side in example.get("columns", {}).items())
        say(t(f"diff.{example['kind']}", key=key) + "".join(f"; {value}" for value in values))
    for name in ("would", "repaired"):
        if name in found:
            say(t(f"diff.{name}", **{key: f"{number:,}" for key, number in found[name].items()}))
    for problem in found.get("problems", ()):
        say(t("problem.error", message=problem["message"], code=problem["code"]))
    for note in found["notes"]:
        say(t("diff.note", text=note))


def _show_certificate(document: Mapping[str, Any]) -> None:
    say(t("diff.valid", **{key: str(document[key]) for key in ("left", "right", "finished", "result")}))
