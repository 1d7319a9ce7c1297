"""`tongqu versions`: what was applied, by whom and why; the difference of two; taking one back; the second person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.cli.changing import show_plan, show_version, versioning
from tongqu.app.messages import t
from tongqu.store.versions import shown

app = group()
Number = Annotated[int, typer.Argument(metavar="N", min=1, help=t("versions.number"), show_default=False)]


@command(app, "list", "versions.list")
def list_versions(
    call: Call,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("versions.limit"))] = 50,
) -> int:
    """List the newest versions."""
    with versioning(call.wire()) as mine:
        head = mine.store.head(mine.env)
        found = [version.summary() for version in mine.store.list(mine.env, limit)]
    call.answer({"env": mine.env, "head": head.version if head else 0, "versions": found}, _show_list)
    return 0


@command(app, "show", "versions.show")
def show_one(call: Call, number: Number) -> int:
    """Show one version with its contents and what it changed."""
    with versioning(call.wire()) as mine:
        version = mine.store.get(mine.env, number)
    document = {**version.summary(), "shared": version.shared, "overlay": version.overlay}
    call.answer(document, show_version)
    return 0


@command(app, "diff", "versions.diff")
def diff(
    call: Call,
    before: Annotated[int, typer.Argument(metavar="A", min=0, help=t("versions.before"), show_default=False)],
    after: Annotated[int, typer.Argument(metavar="B", min=1, help=t("versions.after"), show_default=False)],
) -> int:
    """Show what changed from one version to another."""
    with versioning(call.wire()) as mine:
        found = [change.to_json() for change in mine.difference(before, after)]
    call.answer({"version": after, "env": mine.env, "changes": found, "targets": []}, show_plan)
    return 0


@command(app, "undo", "versions.undo", audited=True)
def undo(
    call: Call,
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", min=1, help=t("versions.to"), show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("apply.reason"))] = "",
) -> int:
    """Make an earlier version count again."""
    with versioning(call.wire()) as mine:
        document = mine.undo(to, reason)
    call.answer(document, show_version)
    return 0


@command(app, "approve", "versions.approve", audited=True)
def approve(call: Call, number: Number) -> int:
    """Let a proposed version count."""
    with versioning(call.wire()) as mine:
        document = mine.approve(number)
    call.answer(document, show_version)
    return 0


@command(app, "reject", "versions.reject", audited=True)
def reject(call: Call, number: Number) -> int:
    """Refuse a proposed version."""
    with versioning(call.wire()) as mine:
        document = mine.reject(number)
    call.answer(document, show_version)
    return 0


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["versions"]:
        say(t("versions.none", env=shown(document["env"])))
        return
    names = ("version", "state", "kind", "at", "actor", "approver", "reason")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for version in document["versions"]:
        told = {**version, "state": t(f"version.{version['state']}"), "kind": t(f"version.{version['kind']}")}
        mark = " *" if version["version"] == document["head"] else ""
        rows.append((f"{told['version']}{mark}", *(str(told[name]) for name in names[1:])))
    table(rows)
