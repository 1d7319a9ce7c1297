"""`tongqu api`: what is published, where, and whether it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli import audit
from tongqu.app.cli.call import Call, command, group, say, table, tell, tell_problem
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
