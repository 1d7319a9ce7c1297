"""`tongqu policy`: what a caller sees of an API and why, and whether it could learn more than that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell, tell_problem
from tongqu.app.messages import t, translated

app = group()
Files = Annotated[bool, typer.Option("--files", help=t("api.files"))]
Version = Annotated[str, typer.Option("--version", metavar="vN", help=t("api.version"))]


@command(app, "explain", "policy.explain", managed=True)
def explain(
    call: Call,
    *,
    api: Annotated[str, typer.Argument(metavar="API", help=t("policy.api"), show_default=False)],
    client: Annotated[str, typer.Option("--as", metavar="CLIENT", help=t("policy.as"), show_default=False)],
    version: Version = "",
    purpose: Annotated[str, typer.Option("--purpose", metavar="P", help=t("policy.purpose"))] = "",
    at: Annotated[str, typer.Option("--at", metavar="TIME", help=t("policy.at"))] = "",
    address: Annotated[str, typer.Option("--from", metavar="ADDRESS", help=t("policy.from"))] = "",
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="K=V", help=t("policy.attribute"))
    ] = None,
    roles: Annotated[list[str] | None, typer.Option("--roles", metavar="R", help=t("policy.roles"))] = None,
    files: Files = False,
) -> int:
    """Show what a caller sees and may change, by which rules."""
    given = [role for told in roles or () for role in told.split(",") if role]
    document = call.ask(
        "policy.explain", name=api, client=client, version=version, purpose=purpose, at=at, address=address,
        attributes=attribute or [], roles=given, files=files,
    )  # fmt: skip
    call.answer(document, _show)
    return 0


@command(app, "test", "policy.test", managed=True)
def test(
    call: Call,
    api: Annotated[str, typer.Argument(metavar="[API]", help=t("policy.api"), show_default=False)] = "",
    version: Version = "",
    files: Files = False,
) -> int:
    """Try every way to learn what may not be seen."""
    document = call.ask("policy.test", name=api, version=version, files=files)
    told = {**document, "problems": [translated(problem) for problem in document["problems"]]}
    call.answer(told, _show_test)
    for problem in document["problems"]:
        tell_problem(problem)
    return 0 if document["ok"] else 1 if any(one["leaks"] for one in document["apis"]) else 3


def _show(document: Mapping[str, Any]) -> None:
    who = document["actor"]
    say(t("policy.about", api=document["api"], version=document["version"], actor=who["id"],
          roles=", ".join(who["roles"]) or "—", policy=document["policy"]))  # fmt: skip
    names = ("action", "allowed", "rules", "rows")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for action, told in document["actions"].items():
        where = told["rows"]
        shown = "—" if where is None else where["sql"] or t("policy.all_rows")
        allowed = t("policy.yes") if told["allowed"] else t("policy.no")
        rows.append((action, allowed, ", ".join(told["rules"]) or "—", shown))
    table(rows)
    heads = ("field", "class", "shown", "set_by", "rows")
    lines: list[tuple[str, ...]] = [tuple(t(f"column.{head}") for head in heads)]
    for field in document["fields"]:
        shown = t(f"policy.shown.{field['shown']}", mask=field["mask"])
        lines.append(
            (field["field"], field["class"], shown, ", ".join(field["set_by"]) or "—", field["in_rows"] or "—")
        )
    table(lines)
    if document["query"] is not None:
        say(document["query"]["sql"] or document["query"]["note"])
        say(", ".join(f"{name} = {value!r}" for name, value in document["query"]["params"].items()) or "—")
    _show_conflicts(document["conflicts"])


def _show_conflicts(conflicts: list[Mapping[str, Any]]) -> None:
    for one in conflicts:
        told = {"first": one["first"], "second": one["second"], "fields": ", ".join(one["fields"])}
        tell(t(f"policy.conflict.{one['kind']}", **told))


def _show_test(document: Mapping[str, Any]) -> None:
    for one in document["apis"]:
        name = f"{one['name']} {one['version']}"
        say(t("policy.tested", api=name, questions=one["questions"], callers=one["callers"], leaks=len(one["leaks"])))
        _show_conflicts(one["conflicts"])
        if one["leaks"]:
            names = ("actor", "field", "channel", "detail")
            rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
            table([*rows, *(tuple(str(leak[name]) or "—" for name in names) for leak in one["leaks"])])
