"""`tongqu api`: what is published, where, and whether it answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli import audit
from tongqu.app.cli.call import Call, command, group, say, short, table, tell, tell_problem
from tongqu.app.messages import t, translated

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("api.name"), show_default=False)]
FromFiles = Annotated[bool, typer.Option("--files", help=t("api.files"))]


@command(app, "list", "api.list", managed=True)
def list_apis(call: Call, files: FromFiles = False) -> int:
    """List the APIs."""
    document = call.ask("api.list", files=files)
    call.answer(document, _show_list)
    for problem in document["problems"]:
        tell_problem(problem)
    return 3 if document["problems"] else 0


@command(app, "show", "api.show", managed=True)
def show(
    call: Call,
    name: Name,
    version: Annotated[str, typer.Option("--version", metavar="vN", help=t("api.version"))] = "",
    files: FromFiles = False,
) -> int:
    """Show one API as its source describes it now."""
    document = call.ask("api.show", name=name, version=version, files=files)
    told = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(told, _show_one)
    for problem in document["problems"]:
        tell_problem(problem)
    return 1 if document["problems"] else 0


@command(app, "contract", "api.contract", managed=True)
def contract(
    call: Call,
    name: Name,
    version: Annotated[str, typer.Option("--version", metavar="vN", help=t("api.version"))] = "",
) -> int:
    """Show what the applied version of an API promises its callers, and who relies on which field."""
    call.answer(call.ask("api.contract", name=name, version=version), _show_contract)
    return 0


@command(app, "diff", "api.diff", managed=True)
def diff(
    call: Call,
    name: Name,
    old: Annotated[str, typer.Argument(metavar="vN", help=t("api.old"), show_default=False)],
    new: Annotated[str, typer.Argument(metavar="vM", help=t("api.new"), show_default=False)],
) -> int:
    """Show what changes for a caller who goes over from one version to another."""
    from tongqu.app.cli.changing import show_contract_changes

    call.answer(call.ask("api.diff", name=name, old=old, new=new), show_contract_changes)
    return 0


@command(app, "exports", "api.exports", managed=True)
def exports(call: Call) -> int:
    """Show who waits for more rows than one may take alone, and what was allowed."""
    document = call.ask("api.exports")
    call.answer(document, _show_exports)
    return 3 if document["waiting"] else 0


@command(app, "allow", "api.allow", audited=True, managed=True)
def allow(
    call: Call,
    name: Name,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help=t("api.allow.client"), show_default=False)],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("api.allow.reason"))] = "",
) -> int:
    """Let a caller that waits take as many rows again, as a second person."""
    call.answer(call.ask("api.allow", name=name, client=client, reason=reason), _show_exports)
    return 0


@command(app, "pending", "api.pending", managed=True)
def pending(call: Call) -> int:
    """Show changes that wait for the signature of a second person."""
    document = call.ask("api.pending")
    call.answer(document, _show_pending)
    return 3 if any(not one["approver"] for one in document["pending"]) else 0


@command(app, "approve", "api.approve", audited=True, managed=True)
def approve(
    call: Call,
    id: Annotated[str, typer.Argument(metavar="ID", help=t("api.approve.id"), show_default=False)],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help=t("api.approve.as"))],
    code: Annotated[str, typer.Option("--code", metavar="CODE", help=t("api.approve.code"))] = "",
) -> int:
    """Sign a change as the second person; the password comes by prompt or stdin."""
    document = call.ask("api.approve", id=id, name=name, code=code, password=asked_password(name))
    call.answer(document, _show_pending)
    return 0


@command(app, "news", "api.news", managed=True)
def news(call: Call) -> int:
    """Show what callers are told about the APIs they use."""
    call.answer(call.ask("api.news"), _show_news)
    return 0


@command(app, "subscribers", "api.subscribers", managed=True)
def subscribers(call: Call) -> int:
    """Show who is told of changes, and how that goes."""
    call.answer(call.ask("api.subscribers"), _show_subscribers)
    return 0


@command(app, "subscribe", "api.subscribe", audited=True, managed=True)
def subscribe(
    call: Call,
    client: Annotated[str, typer.Argument(metavar="CLIENT", help=t("api.subscribe.client"), show_default=False)],
    name: Annotated[str, typer.Option("--api", metavar="NAME", help=t("api.subscribe.api"))] = "",
    webhook: Annotated[str, typer.Option("--webhook", metavar="URL", help=t("api.subscribe.webhook"))] = "",
    mail: Annotated[str, typer.Option("--mail", metavar="ADDRESS", help=t("api.subscribe.mail"))] = "",
) -> int:
    """Tell a client or person of new versions, changes and ends of APIs."""
    if bool(webhook) == bool(mail):
        raise typer.BadParameter(t("api.subscribe.one"), param_hint="--webhook")
    channel = "webhook" if webhook else "mail"
    told = call.ask("api.subscribe", client=client, api=name, channel=channel, address=webhook or mail)
    call.answer(told, _show_subscribers)
    return 0


@command(app, "unsubscribe", "api.unsubscribe", audited=True, managed=True)
def unsubscribe(
    call: Call,
    id: Annotated[str, typer.Argument(metavar="ID", help=t("api.unsubscribe.id"), show_default=False)],
) -> int:
    """End a subscription."""
    call.answer(call.ask("api.unsubscribe", id=id), lambda told: say(t("api.unsubscribed", name=told["removed"])))
    return 0


@command(app, "openapi", "api.openapi")
def openapi(
    call: Call,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME|VERSION", help=t("api.document.name"), show_default=False)],
    client: Annotated[str, typer.Option("--as", metavar="CLIENT", help=t("api.document.as"))] = "anonymous",
    format: Annotated[str, typer.Option("--format", metavar="FORMAT", help=t("api.document.format"))] = "openapi",
    url: Annotated[str, typer.Option("--url", metavar="URL", help=t("api.document.url"))] = "http://127.0.0.1:8700",
    files: FromFiles = False,
) -> int:
    """Print a document of what a client may use."""
    from tongqu.app.messages import language
    from tongqu.app.services.publishing_docs import document

    wire = call.wire()
    say(document(wire, name, client=client, format=format, language=language(), files=files, address=url))
    return 0


command(app, "calls", "audit.calls", managed=True)(audit.calls)
command(app, "usage", "audit.usage", managed=True)(audit.usage)


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["apis"]:
        say(t("api.none"))
        return
    names = ("path", "from", "roles", "state")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["apis"]:
        told = {
            **one,
            "from": one["source"],
            "roles": ", ".join(one["roles"]) or "—",
            "state": t(f"api.state.{one['state']}"),
        }
        rows.append(tuple(str(told[name]) for name in names))
    table(rows)
    if document["url"]:
        tell(t("api.served", url=document["url"], config=document["config"]))
    else:
        tell(t("api.not_served"))


def _show_one(document: Mapping[str, Any]) -> None:
    say(f"{document['path']}  {t('api.state.' + document['state'])}")
    if document.get("writes"):
        say(t(f"api.writes.{document['writes']}"))
    names = ("field", "type", "class", "mask", "title")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for field in document["fields"]:
        mark = " *" if field["key"] else ""
        rows.append((f"{field['field']}{mark}", *(str(field[name]) or "—" for name in names[1:])))
    table(rows if document["fields"] else [])


def _show_contract(document: Mapping[str, Any]) -> None:
    ends = [f"{word} {document[word]}" for word in ("deprecated", "sunset", "successor") if document[word]]
    say(" · ".join([f"/api/{document['version']}/{document['api']}", *ends]))
    names = ("field", "type", "nullable", "writable", "client")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for name, field in document["fields"].items():
        mark = " *" if name in document["key"] else ""
        users = ", ".join(document["consumers"].get(name, ())) or "—"
        yes = ("✓" if field[word] else "—" for word in ("nullable", "set"))
        rows.append((f"{name}{mark}", field["type"], *yes, users))
    table(rows)


def _show_exports(document: Mapping[str, Any]) -> None:
    names = ("client", "api", "at", "rows", "until", "by", "reason")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [tuple(str(one.get(name, "")) for name in names) for one in (*document["waiting"], *document["allowed"])]
    table(rows)


def asked_password(name: str) -> str:
    """What was typed, or all of stdin without its last line break."""
    if not sys.stdin.isatty():
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    from getpass import getpass

    return getpass(t("user.ask", name=name))


def _show_pending(document: Mapping[str, Any]) -> None:
    names = ("id", "api", "change", "who", "reason", "at", "approver")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    rows += [tuple(str(one[name] or "") for name in names) for one in document["pending"]]
    table(rows)


def _show_news(document: Mapping[str, Any]) -> None:
    names = ("at", "path", "type", "change")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["news"]:
        ends = [f"{name} {one[name]}" for name in ("deprecated", "sunset", "successor") if one.get(name)]
        told = [*(str(change["at"]) for change in one.get("changes", ())), *ends]
        rows.append((one["at"], f"/api/{one['version']}/{one['api']}", one["type"], short(", ".join(told), 60)))
    table(rows)


def _show_subscribers(document: Mapping[str, Any]) -> None:
    names = ("id", "client", "api", "channel", "address", "missed", "problem")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["subscribers"]:
        rows.append(tuple(str(one[key]) for key in ("id", "who", "api", "channel", "address", "missed", "problem")))
    table(rows)
    for one in document["subscribers"]:
        if one.get("secret"):
            tell(t("api.subscribe.secret"))
            say(one["secret"])
