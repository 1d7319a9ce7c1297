"""`tongqu client`: the programs that may call published APIs, and their keys, each shown once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("client.name"), show_default=False)]
Roles = Annotated[list[str] | None, typer.Option("--role", metavar="R", help=t("client.role"))]
Attributes = Annotated[list[str] | None, typer.Option("--attribute", metavar="K=V", help=t("client.attribute"))]
Purposes = Annotated[list[str] | None, typer.Option("--purpose", metavar="P", help=t("client.purpose"))]
KeyKind = Annotated[str, typer.Option("--key", metavar="secret|api-key|signature", help=t("client.key"))]
KeyEnd = Annotated[str, typer.Option("--key-expires", metavar="WHEN", help=t("client.key_expires"))]


@command(app, "add", "client.add", audited=True, managed=True)
def add(
    call: Call,
    name: Name,
    *,
    role: Roles = None,
    attribute: Attributes = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", metavar="S", help=t("client.scope"))] = None,
    purpose: Purposes = None,
    grant: Annotated[list[str] | None, typer.Option("--grant", metavar="G", help=t("client.grant"))] = None,
    redirect: Annotated[list[str] | None, typer.Option("--redirect", metavar="URL", help=t("client.redirect"))] = None,
    jwks: Annotated[Path | None, typer.Option("--jwks", metavar="FILE", help=t("client.jwks"))] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help=t("client.cert"))] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help=t("client.sandbox"))] = False,
    public: Annotated[bool, typer.Option("--public", help=t("client.public"))] = False,
    expires: Annotated[str, typer.Option("--expires", metavar="WHEN", help=t("client.expires"))] = "",
    key: KeyKind = "secret",
    key_expires: KeyEnd = "",
) -> int:
    """Add a client and show its key."""
    from tongqu.app.services.identity import content, public_keys

    document = call.ask(
        "client.add", name=name, roles=role or [], attributes=attribute or [], scopes=scope or [],
        purposes=purpose or [], grants=grant or [], redirects=redirect or [],
        jwks=[dict(one) for one in public_keys(jwks)] if jwks else [],
        certificate=content(certificate).decode("latin-1") if certificate else "", sandbox=sandbox, public=public,
        expires=expires, key=key, key_expires=key_expires,
    )  # fmt: skip
    call.answer(document, _show_key)
    return 0


@command(app, "rotate", "client.rotate", audited=True, managed=True)
def rotate(
    call: Call,
    name: Name,
    *,
    key: KeyKind = "secret",
    overlap: Annotated[str, typer.Option("--overlap", metavar="SPAN", help=t("client.overlap"))] = "7d",
    key_expires: KeyEnd = "",
) -> int:
    """Give a client a new key beside the old one."""
    call.answer(call.ask("client.rotate", name=name, key=key, overlap=overlap, key_expires=key_expires), _show_key)
    return 0


@command(app, "certificate", "client.certificate", audited=True, managed=True)
def certificate(
    call: Call,
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=t("client.cert"), show_default=False)],
) -> int:
    """Let a certificate stand for a client."""
    from tongqu.app.services.identity import content

    document = call.ask("client.certificate", name=name, certificate=content(file).decode("latin-1"))
    call.answer(document, lambda made: say(t("client.certified", name=made["client_id"], end=made["expires"])))
    return 0


@command(app, "change", "client.change", audited=True, managed=True)
def change(call: Call, name: Name, role: Roles = None, attribute: Attributes = None, purpose: Purposes = None) -> int:
    """Replace what a client may be."""
    given: dict[str, Any] = {"roles": role or [], "attributes": attribute or [], "purposes": purpose or []}
    call.answer(call.ask("client.change", name=name, **given), _show_list)
    return 0


@command(app, "disable", "client.disable", audited=True, managed=True)
def disable(call: Call, name: Name) -> int:
    """Refuse a client from now on."""
    call.answer(call.ask("client.disable", name=name), _show_list)
    return 0


@command(app, "enable", "client.enable", audited=True, managed=True)
def enable(call: Call, name: Name) -> int:
    """Let a client call again."""
    call.answer(call.ask("client.enable", name=name), _show_list)
    return 0


@command(app, "revoke", "client.revoke", audited=True, managed=True)
def revoke(
    call: Call, name: Name, key: Annotated[str, typer.Option("--key-id", metavar="ID", help=t("client.key_id"))] = ""
) -> int:
    """Make a client's tokens, or one of its keys, void."""
    document = call.ask("client.revoke", name=name, key=key)
    call.answer(document, lambda done: say(t("client.was_revoked", name=done["client_id"])))
    return 0


@command(app, "remove", "client.remove", audited=True, managed=True)
def remove(call: Call, name: Name) -> int:
    """Forget a client."""
    call.answer(call.ask("client.remove", name=name), lambda done: say(t("client.was_removed", name=done["removed"])))
    return 0


@command(app, "list", "client.list", managed=True)
def list_clients(call: Call) -> int:
    """List the clients; no keys."""
    call.answer(call.ask("client.list"), _show_list)
    return 0


def _show_key(document: Mapping[str, Any]) -> None:
    for name in ("client_id", "client_secret", "api_key", "access_key_id", "secret_key"):
        if name in document:
            say(f"{name}: {document[name]}")
    if len(document) > 1:
        tell(t("client.shown_once"))


def _show_list(document: Mapping[str, Any]) -> None:
    names = ("name", "roles", "state", "keys", "expires", "used")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for client in document["clients"]:
        alive = [key["id"] for key in client["keys"] if key["alive"]]
        state = t(f"identity.state.{client['state']}")
        rows.append((client["client_id"], ", ".join(client["roles"]) or "—", state, ", ".join(alive) or "—",
                     client["expires"] or "—", client["used"] or "—"))  # fmt: skip
    table(rows)
