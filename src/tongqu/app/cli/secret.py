"""`tongqu secret`: the home's sealed secrets; values come in by prompt or stdin, and none ever goes out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell, tell_problem
from tongqu.app.messages import t, translated

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("secret.name"), show_default=False)]
_PROFILES = ("standard", "gm")


@command(app, "init", "secret.init", audited=True)
def init(
    call: Call,
    profile: Annotated[str, typer.Option("--profile", metavar="standard|gm", help=t("secret.profile"))] = "",
) -> int:
    """Make the store and its key."""
    _choice("--profile", profile, ("", *_PROFILES))
    call.answer(call.wire().secrets.init(profile), _show_state)
    return 0


@command(app, "set", "secret.set", audited=True)
def set_one(call: Call, name: Name) -> int:
    """Keep a secret, read from the terminal without echo or from stdin."""
    document = call.wire().secrets.set(name, lambda: _value(name))
    call.answer(document, lambda held: say(t("secret.was_set", name=held["name"], version=held["version"])))
    return 0


@command(app, "list", "secret.list")
def list_secrets(call: Call) -> int:
    """List the secrets; no values."""
    call.answer(call.wire().secrets.list(), _show_list)
    return 0


@command(app, "remove", "secret.remove", audited=True)
def remove(call: Call, name: Name) -> int:
    """Forget a secret."""
    call.answer(call.wire().secrets.remove(name), lambda done: say(t("secret.was_removed", name=done["removed"])))
    return 0


@command(app, "rotate", "secret.rotate", audited=True)
def rotate(
    call: Call,
    only: Annotated[str, typer.Option("--only", metavar="key|data", help=t("secret.only"))] = "",
    profile: Annotated[str, typer.Option("--profile", metavar="standard|gm", help=t("secret.new_profile"))] = "",
) -> int:
    """Change the keys while they are in use."""
    _choice("--only", only, ("", "key", "data"))
    _choice("--profile", profile, ("", *_PROFILES))
    call.answer(call.wire().secrets.rotate(only or "both", profile), _show_rotated)
    return 0


@command(app, "usage", "secret.usage")
def usage(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=t("secret.name"), show_default=False)] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help=t("secret.limit"))] = 50,
) -> int:
    """Show which reference was resolved when, by which command and run."""
    call.answer(call.wire().secrets.usage(name, limit), _show_usage)
    return 0


@command(app, "import", "secret.import", audited=True)
def import_files(call: Call, delete: Annotated[bool, typer.Option("--delete", help=t("secret.delete"))] = False) -> int:
    """Seal the plain files of the folder `secrets`."""
    document = call.wire().secrets.take_over(delete)
    call.answer(document, _show_imported)
    return 3 if document["kept"] else 0


@command(app, "check", "secret.check")
def check(call: Call) -> int:
    """Try to open every secret, and look at who could read the files."""
    document = call.wire().secrets.check()
    shown = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(shown, lambda found: say(t("secret.checked", count=found["secrets"])))
    for problem in document["problems"]:
        tell_problem(problem)
    return (3 if document["problems"] else 0) if document["ok"] else 1


def _value(name: str) -> str:
    """What was typed, or all of stdin without its last line break."""
    if not sys.stdin.isatty():
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    from getpass import getpass

    typed = getpass(t("secret.ask", name=name))
    if typed != getpass(t("secret.ask_again")):
        raise typer.BadParameter(t("secret.differ"))
    return typed


def _choice(option: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        told = ", ".join(filter(None, valid))
        raise typer.BadParameter(t("usage.choice", value=value, valid=told), param_hint=option)


def _show_state(document: Mapping[str, Any]) -> None:
    said = {name: document[name] for name in ("algorithm", "key", "origin")}
    say(t("secret.made" if document["made"] else "secret.there", **said))
    if document["source"] == "file":
        tell(t("secret.keep_a_copy", origin=document["origin"]))


def _show_list(document: Mapping[str, Any]) -> None:
    names = ("name", "kind", "version", "changed", "used", "algorithm")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for secret in document["secrets"]:
        told = {**secret, "kind": t(f"secret.kind.{secret['kind']}")}
        rows.append(tuple(str(told[name]) or "—" for name in names))
    table(rows)


def _show_rotated(document: Mapping[str, Any]) -> None:
    say(t("secret.resumed" if document["resumed"] else "secret.rotated", key=document["key"], data=document["data_key"],
          rewrapped=document["rewrapped"], resealed=document["resealed"]))  # fmt: skip
    if document["removable"]:
        tell(t("secret.removable", keys=", ".join(document["removable"])))


def _show_usage(document: Mapping[str, Any]) -> None:
    names = ("at", "kind", "name", "command", "run", "pid")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    table([*rows, *(tuple(str(use[name]) or "—" for name in names) for use in document["uses"])])


def _show_imported(document: Mapping[str, Any]) -> None:
    say(t("secret.imported", count=len(document["imported"]), names=", ".join(document["imported"]) or "—"))
    if document["kept"]:
        tell(t("secret.kept", names=", ".join(document["kept"])))
