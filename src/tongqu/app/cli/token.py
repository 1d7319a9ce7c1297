"""`tongqu token`: access tokens for clients, and the keys that sign them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()


@command(app, "issue", "token.issue", audited=True, managed=True)
def issue(
    call: Call,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help=t("client.name"), show_default=False)],
    *,
    ttl: Annotated[str, typer.Option("--ttl", metavar="SPAN", help=t("token.ttl"))] = "",
    scope: Annotated[list[str] | None, typer.Option("--scope", metavar="S", help=t("client.scope"))] = None,
) -> int:
    """Give a client an access token."""
    document = call.ask("token.issue", name=client, ttl=ttl, scopes=scope or [])
    call.answer(document, lambda made: say(made["access_token"]))
    return 0


@command(app, "keys", "token.keys", audited=True, managed=True)
def keys(
    call: Call,
    rotate: Annotated[bool, typer.Option("--rotate", help=t("token.rotate"))] = False,
    at_once: Annotated[bool, typer.Option("--at-once", help=t("token.at_once"))] = False,
) -> int:
    """Show the keys that sign tokens, or make the next one."""
    change = rotate or at_once
    document = call.ask("token.rotate", at_once=at_once) if change else call.ask("token.keys")
    call.answer(document, _show_keys)
    return 0


def _show_keys(document: Mapping[str, Any]) -> None:
    names = ("key", "algorithm", "from", "expires")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    table([*rows, *((key["kid"], key["alg"], key["signs_from"], key["ends"] or "—") for key in document["keys"])])
