"""`tongqu reconcile`: entries of the project that must hold the same rows, compared as runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell_problem
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("reconcile.name"), show_default=False)]


@command(app, "list", "reconcile.list", managed=True)
def list_entries(call: Call) -> int:
    """List all entries."""
    call.answer(call.ask("reconcile.list"), _show_list)
    return 0


@command(app, "show", "reconcile.show", managed=True)
def show(call: Call, name: Name) -> int:
    """Show the newest comparison of an entry."""
    call.answer(call.ask("reconcile.show", name=name), _show)
    return 0


@command(app, "run", "reconcile.run", audited="repair")
def run(
    call: Call,
    name: Name,
    *,
    repair: Annotated[bool, typer.Option("--repair", help=t("diff.repair"))] = False,
) -> int:
    """Compare an entry now; exit 3 if rows differ."""
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.services.reconciling import reconcile

    wire = call.wire()
    with stoppable(wire.stop):
        outcome = reconcile(wire, name, repair=repair)
    call.answer(outcome.document, _show)
    for problem in outcome.document.get("problems", []):
        tell_problem(problem)
    return outcome.exit_code


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["reconcile"]:
        say(t("reconcile.none"))
        return
    names = ("name", "compared", "repair", "starts", "next", "last")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["reconcile"]:
        last = f"{one['last']['started']} {t('status.' + one['last']['status'])}" if one["last"] else ""
        shown = {**one, "compared": f"{one['left']} = {one['right']}"}
        rows.append((*(str(shown[name] or "") for name in names[:-1]), last))
    table(rows)


def _show(document: Mapping[str, Any]) -> None:
    if not document.get("run"):
        say(t("reconcile.never"))
        return
    say(f"{t('column.run')}: {document['run']}  {t('status.' + document['status'])}")
    names = ("name", "same", "missing", "extra", "different")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for found in document.get("tables", ()):
        rows.append((found["name"], *(f"{found[name]:,}" for name in names[1:])))
    table(rows if len(rows) > 1 else [])
    if document.get("certificate"):
        say(t("diff.written", path=document["certificate"]))
