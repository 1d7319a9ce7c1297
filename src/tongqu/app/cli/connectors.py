"""`tongqu connectors`: the systems Tongqu speaks to, each with its honest label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, table
from tongqu.app.messages import t

app = group()


@command(app, "connectors", "command.connectors")
def connectors(
    call: Call,
    *,
    types: Annotated[bool, typer.Option("--types", help=t("connectors.types"))] = False,
    source: Annotated[str, typer.Argument(metavar="FROM", help=t("connectors.from"), show_default=False)] = "",
    sink: Annotated[str, typer.Argument(metavar="TO", help=t("connectors.to"), show_default=False)] = "",
) -> int:
    """List the connectors, or with --types what the types of one system become in another."""
    if types or source:
        from tongqu.app.type_table import type_table

        call.answer(type_table(source, sink), _show_types)
        return 0
    from tongqu.app.docs import connectors as listed

    call.answer(listed(), _show)
    return 0


def _show_types(document: Mapping[str, Any]) -> None:
    names = ("from", "type", "arrow", "to", "becomes", "verdict")
    head = tuple(t(f"column.{name}") for name in names)
    table([head, *(tuple(row[name] for name in names) for row in document["types"])])


def _show(document: Mapping[str, Any]) -> None:
    names = ("name", "label", "reads", "writes", "schemes", "systems")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for found in document["connectors"]:
        schemes = " ".join(f"{scheme}:" for scheme in found["schemes"])
        reads, writes = (t("word.yes") if found[name] else "-" for name in ("reads", "writes"))
        rows.append((found["name"], found["label"], reads, writes, schemes, ", ".join(found["systems"])))
    table(rows)
