"""`tongqu user`: people who may log in; passwords come in by prompt or stdin, and none ever goes out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("user.name"), show_default=False)]
Roles = Annotated[list[str] | None, typer.Option("--role", metavar="R", help=t("client.role"))]
Attributes = Annotated[list[str] | None, typer.Option("--attribute", metavar="K=V", help=t("client.attribute"))]
Keep = Annotated[bool, typer.Option("--keep-password", help=t("user.keep"))]


@command(app, "add", "user.add", audited=True)
def add(
    call: Call,
    name: Name,
    *,
    role: Roles = None,
    attribute: Attributes = None,
    duty: Annotated[
        list[str] | None, typer.Option("--duty", metavar="system|security|audit", help=t("user.duty"))
    ] = None,
    expires: Annotated[str, typer.Option("--expires", metavar="WHEN", help=t("client.expires"))] = "",
    keep_password: Keep = False,
) -> int:
    """Add a person."""
    from tongqu.app.services.people import NewUser

    new = NewUser(name, role or (), attribute or (), duty or (), expires, keep_password)
    call.answer({"users": [_people(call).add(new, lambda: _password(name))]}, _show_list)
    return 0


@command(app, "password", "user.password", audited=True)
def password(call: Call, name: Name, keep_password: Keep = False) -> int:
    """Give a person a new password."""
    document = _people(call).password(name, lambda: _password(name), keep=keep_password)
    call.answer(document, lambda done: say(t("user.was_changed", name=done["changed"])))
    return 0


@command(app, "totp", "user.totp", audited=True)
def totp(
    call: Call, name: Name, code: Annotated[str, typer.Option("--code", metavar="DIGITS", help=t("user.code"))] = ""
) -> int:
    """Give a person a second factor, then confirm it."""
    call.answer(_people(call).totp(name, code), _show_totp)
    return 0


@command(app, "change", "user.change", audited=True)
def change(call: Call, name: Name, role: Roles = None, attribute: Attributes = None) -> int:
    """Replace what a person may be."""
    call.answer({"users": [_people(call).change(name, role or (), attribute or ())]}, _show_list)
    return 0


@command(app, "disable", "user.disable", audited=True)
def disable(call: Call, name: Name) -> int:
    """Let a person in no more."""
    call.answer({"users": [_people(call).enable(name, enabled=False)]}, _show_list)
    return 0


@command(app, "enable", "user.enable", audited=True)
def enable(call: Call, name: Name) -> int:
    """Let a person in again."""
    call.answer({"users": [_people(call).enable(name, enabled=True)]}, _show_list)
    return 0


@command(app, "unlock", "user.unlock", audited=True)
def unlock(call: Call, name: Name) -> int:
    """Forget the wrong passwords of an account."""
    call.answer(_people(call).unlock(name), lambda done: say(t("user.was_unlocked", name=done["unlocked"])))
    return 0


@command(app, "logout", "user.logout", audited=True)
def logout(call: Call, name: Name) -> int:
    """End all sessions and tokens of a person."""
    call.answer(_people(call).log_out(name), lambda done: say(t("user.was_logged_out", name=done["logged_out"])))
    return 0


@command(app, "remove", "user.remove", audited=True)
def remove(call: Call, name: Name) -> int:
    """Forget a person."""
    call.answer(_people(call).remove(name), lambda done: say(t("user.was_removed", name=done["removed"])))
    return 0


@command(app, "list", "user.list")
def list_users(call: Call) -> int:
    """List the people."""
    call.answer(_people(call).list(), _show_list)
    return 0


def _people(call: Call) -> Any:
    from tongqu.app.services.people import People

    return People(call.wire().callers())


def _password(name: str) -> str:
    """What was typed twice, or all of stdin without its last line break."""
    if not sys.stdin.isatty():
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    from getpass import getpass

    typed = getpass(t("user.ask", name=name))
    if typed != getpass(t("secret.ask_again")):
        raise typer.BadParameter(t("secret.differ"))
    return typed


def _show_totp(document: Mapping[str, Any]) -> None:
    if document["confirmed"]:
        say(t("user.confirmed", name=document["name"]))
        return
    say(document["uri"])
    tell(t("user.confirm", name=document["name"]))


def _show_list(document: Mapping[str, Any]) -> None:
    names = ("name", "roles", "duties", "state", "second_factor", "used")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for user in document["users"]:
        state, factor = t(f"identity.state.{user['state']}"), "TOTP" if user["second_factor"] else "—"
        rows.append((user["name"], ", ".join(user["roles"]) or "—", ", ".join(user["duties"]) or "—", state, factor,
                     user["used"] or "—"))  # fmt: skip
    table(rows)
