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


@command(app, "list", "api.list")
def list_apis(call: Call, files: FromFiles = False) -> int:
    """List the APIs."""
    from tongqu.app.services.apis import listed

    document = listed(call.wire(), files=files)
    call.answer(document, _show_list)
    for problem in document["problems"]:
        tell_problem(problem)
    return 3 if document["problems"] else 0


@command(app, "show", "api.show")
def show(
    call: Call,
    name: Name,
    version: Annotated[str, typer.Option("--version", metavar="vN", help=t("api.version"))] = "",
    files: FromFiles = False,
) -> int:
    """Show one API as its source describes it now."""
    from tongqu.app.services.apis import shown

    document = shown(call.wire(), name, version, files=files)
    told = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(told, _show_one)
    for problem in document["problems"]:
        tell_problem(problem)
    return 1 if document["problems"] else 0


command(app, "calls", "audit.calls")(audit.calls)
command(app, "usage", "audit.usage")(audit.usage)


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
    names = ("field", "type", "class", "mask", "title")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for field in document["fields"]:
        mark = " *" if field["key"] else ""
        rows.append((f"{field['field']}{mark}", *(str(field[name]) or "—" for name in names[1:])))
    table(rows if document["fields"] else [])
