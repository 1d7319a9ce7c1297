"""`tongqu intake`: rows that were sent to `/ingest` and could not be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()
_NEEDS_ATTENTION = 3


@command(app, "list", "intake.list")
def list_parcels(
    call: Call, limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("intake.limit"))] = 20
) -> int:
    """Show what waits and what could not be written."""
    document = call.wire().taken_in().list(limit)
    call.answer(document, _show_list)
    return _NEEDS_ATTENTION if document["dead"] else 0


@command(app, "replay", "intake.replay", audited=True)
def replay(call: Call) -> int:
    """Try again what could not be written."""
    document = call.wire().taken_in().replay()
    call.answer(document, lambda done: say(t("intake.was_replayed", count=done["replayed"])))
    return 0


@command(app, "drop", "intake.drop", audited=True)
def drop(call: Call, id: Annotated[int, typer.Argument(metavar="ID", help=t("intake.id"), show_default=False)]) -> int:
    """Forget one that could not be written."""
    document = call.wire().taken_in().drop(id)
    call.answer(document, lambda done: say(t("intake.was_dropped", count=done["dropped"])))
    return 0


def _show_list(document: Mapping[str, Any]) -> None:
    say(t("intake.waiting", count=document["waiting"]))
    names = ("id", "api", "code", "bytes", "at")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [tuple(str(one[name]) for name in names) for one in document["dead"]]
    table(rows)
