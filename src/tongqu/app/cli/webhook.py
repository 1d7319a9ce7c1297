"""`tongqu webhook`: how the project's webhooks stand, what could not be delivered, and their secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("webhook.name"), show_default=False)]
_NEEDS_ATTENTION = 3


@command(app, "list", "webhook.list")
def list_webhooks(call: Call) -> int:
    """List the webhooks."""
    call.answer(call.wire().hooks().list(), _show_list)
    return 0


@command(app, "show", "webhook.show")
def show(
    call: Call,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("webhook.limit"))] = 20,
    state: Annotated[str, typer.Option("--state", metavar="S", help=t("webhook.state"))] = "",
) -> int:
    """Show the newest messages of a webhook."""
    _choice("--state", state, ("", "waiting", "dead", "done", "skipped"))
    call.answer(call.wire().hooks().show(name, limit, state), _show_one)
    return 0


@command(app, "replay", "webhook.replay", audited=True)
def replay(
    call: Call,
    name: Name,
    *,
    id: Annotated[str, typer.Option("--id", metavar="ID", help=t("webhook.id"))] = "",
    since: Annotated[str, typer.Option("--since", metavar="WHEN", help=t("webhook.since"))] = "",
    state: Annotated[str, typer.Option("--state", metavar="S", help=t("webhook.replayed_state"))] = "dead",
) -> int:
    """Deliver messages again."""
    _choice("--state", state, ("dead", "done", "skipped"))
    document = call.wire().hooks().replay(name, id, since, state)
    call.answer(document, lambda done: say(t("webhook.was_replayed", name=done["name"], count=done["replayed"])))
    return 0


@command(app, "rotate", "webhook.rotate", audited=True)
def rotate(
    call: Call,
    name: Name,
    overlap: Annotated[str, typer.Option("--overlap", metavar="SPAN", help=t("webhook.overlap"))] = "24h",
) -> int:
    """Make a new secret."""
    from tongqu.app.services.identity import seconds

    call.answer(call.wire().hooks().rotate(name, seconds(overlap)), _show_secret)
    return 0


@command(app, "test", "webhook.test", audited=True)
def test(call: Call, name: Name) -> int:
    """Send a trial message."""
    document = call.wire().hooks().test(name)
    call.answer(document, _show_test)
    return 0 if document["taken"] else _NEEDS_ATTENTION


@command(app, "enable", "webhook.enable", audited=True)
def enable(call: Call, name: Name) -> int:
    """Switch a webhook on again."""
    call.answer({"webhooks": [call.wire().hooks().enable(name, enabled=True)]}, _show_list)
    return 0


@command(app, "disable", "webhook.disable", audited=True)
def disable(call: Call, name: Name) -> int:
    """Switch a webhook off."""
    call.answer({"webhooks": [call.wire().hooks().enable(name, enabled=False)]}, _show_list)
    return 0


def _choice(option: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        shown = ", ".join(filter(None, valid))
        raise typer.BadParameter(t("usage.choice", value=value, valid=shown), param_hint=option)


def _show_list(document: Mapping[str, Any]) -> None:
    names = ("name", "address", "client", "state", "waiting", "dead")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [
        (
            one["name"],
            one["url"],
            one["client"],
            t(f"webhook.state.{one['state']}"),
            str(one["waiting"]),
            str(one["dead"]),
        )
        for one in document["webhooks"]
    ]
    table(rows)


def _show_one(document: Mapping[str, Any]) -> None:
    _show_list({"webhooks": [document]})
    names = ("id", "change", "state", "attempts", "status", "code", "due")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["messages"]:
        status, due = str(one["status"] or "—"), one["due"] if one["state"] == "waiting" else "—"
        rows.append((one["id"], one["op"], t(f"webhook.state.{one['state']}"), str(one["attempts"]), status,
                     one["problem"] or "—", due))  # fmt: skip
    table(rows)


def _show_secret(document: Mapping[str, Any]) -> None:
    say(document["secret"])
    tell(t("client.shown_once"))
    if document["overlap_until"]:
        tell(t("webhook.both_sign", until=document["overlap_until"]))


def _show_test(document: Mapping[str, Any]) -> None:
    word = "webhook.taken" if document["taken"] else "webhook.refused"
    say(t(word, name=document["name"], status=document["status"] or "—", problem=document["problem"] or "—"))
