"""`tongqu connectors`: the systems Tongqu speaks to, each with its honest label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.app.cli.call import Call, command, group, table
from tongqu.app.messages import t

app = group()


@command(app, "connectors", "command.connectors")
def connectors(call: Call) -> int:
    """List the connectors."""
    from tongqu.app.docs import connectors as listed

    call.answer(listed(), _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    names = ("name", "label", "reads", "writes", "schemes", "systems")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for found in document["connectors"]:
        schemes = " ".join(f"{scheme}:" for scheme in found["schemes"])
        reads, writes = (t("word.yes") if found[name] else "-" for name in ("reads", "writes"))
        rows.append((found["name"], found["label"], reads, writes, schemes, ", ".join(found["systems"])))
    table(rows)
