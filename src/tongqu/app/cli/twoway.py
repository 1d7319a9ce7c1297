"""`tongqu twoway`: records that several systems hold, kept in agreement; stages, gates, and what waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, short, table, tell_problem
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("twoway.name"), show_default=False)]
Some = Annotated[str, typer.Argument(metavar="[NAME]", help=t("twoway.name"), show_default=False)]


@command(app, "list", "twoway.list", managed=True)
def list_entries(call: Call) -> int:
    """List all entries."""
    call.answer(call.ask("twoway.list"), _show_list)
    return 0


@command(app, "show", "twoway.show", managed=True)
def show(call: Call, name: Name) -> int:
    """Show one entry."""
    call.answer(call.ask("twoway.show", name=name), _show)
    return 0


@command(app, "run", "twoway.run", audited=True)
def run(
    call: Call,
    name: Name,
    *,
    whole: Annotated[bool, typer.Option("--whole", help=t("twoway.whole"))] = False,
    watch: Annotated[bool, typer.Option("--watch", help=t("twoway.watch"))] = False,
) -> int:
    """Do a round now; exit 3 if something differs, waits, or could not be reached."""
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.services.twoway import run as rounds

    wire = call.wire()
    with stoppable(wire.stop):
        outcome = rounds(wire, name, whole=whole, watch=watch)
    call.answer(outcome.document, _show_round)
    for problem in outcome.document.get("problems", []):
        tell_problem(problem)
    return outcome.exit_code


@command(app, "read", "twoway.read", managed=True)
def read(
    call: Call,
    name: Name,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help=t("twoway.limit"))] = 1000,
    after: Annotated[str, typer.Option("--after", help=t("twoway.after"))] = "",
) -> int:
    """Show the newest agreed (approved) version of each record."""
    call.answer(call.ask("twoway.read", name=name, limit=limit, after=after), _show_records)
    return 0


@command(app, "conflicts", "twoway.conflicts", managed=True)
def conflicts(call: Call, name: Some = "") -> int:
    """List what waits for a person; exit 3 if anything does."""
    document = call.ask("twoway.conflicts", name=name)
    call.answer(document, _show_conflicts)
    return 3 if document["conflicts"] else 0


@command(app, "resolve", "twoway.resolve", audited=True, managed=True)
def resolve(
    call: Call,
    name: Name,
    id: Annotated[int, typer.Argument(metavar="ID", help=t("twoway.id"), show_default=False)],
    *,
    use: Annotated[str, typer.Option("--use", help=t("twoway.use"))] = "",
    retry: Annotated[bool, typer.Option("--retry", help=t("twoway.retry"))] = False,
) -> int:
    """Choose for a record that waits; the next round does it."""
    call.answer(call.ask("twoway.resolve", name=name, id=id, use=use, retry=retry), _show_resolved)
    return 0


@command(app, "advance", "twoway.advance", audited=True, managed=True)
def advance(
    call: Call,
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help=t("twoway.force"))] = False,
    reason: Annotated[str, typer.Option("--reason", help=t("twoway.reason"))] = "",
) -> int:
    """Go one stage further if the gate's conditions hold."""
    call.answer(call.ask("twoway.advance", name=name, force=force, reason=reason), _show_moved)
    return 0


@command(app, "forget", "twoway.forget", audited=True, managed=True)
def forget(call: Call, name: Name) -> int:
    """Forget what was agreed; the next round agrees on all records anew."""
    call.answer(call.ask("twoway.forget", name=name), _show_forgotten)
    return 0


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["twoway"]:
        say(t("twoway.none"))
        return
    names = ("name", "sides", "stage", "gate", "waiting", "differences", "last")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["twoway"]:
        last = one["last"] or {}
        rows.append((
            one["name"], ", ".join(one["sides"]), t(f"stage.{one['stage']}"), t(f"gate.{one['gate_state']}"),
            str(one["waiting"]), str(last.get("differences", "")), _at(last.get("at")),
        ))  # fmt: skip
    table(rows)


def _show(document: Mapping[str, Any]) -> None:
    _show_list({"twoway": [document]})
    for missed in document["gate"]:
        say(t("twoway.missed", what=missed["what"], found=f"{missed['found']:g}", asked=f"{missed['asked']:g}"))
    for move in document["moves"]:
        stages = (t(f"stage.{move['from']}"), t(f"stage.{move['to']}"))
        say(t("twoway.move", at=_at(move["at"]), before=stages[0], stage=stages[1], why=move["why"], who=move["who"]))


def _show_round(document: Mapping[str, Any]) -> None:
    say(f"{t('column.run')}: {document['run']}  {t('status.' + document['status'])}")
    if "stage" not in document:
        return
    names = ("stage", "records", "changed", "written", "differences", "conflicts", "refused")
    numbers = tuple(f"{document[name]:,}" for name in names[1:])
    table([tuple(t(f"column.{name}") for name in names), (t(f"stage.{document['stage']}"), *numbers)])
    for side, many in document["would"].items():
        say(t("twoway.would", side=side, count=f"{many:,}"))
    for side, code in document["unreached"].items():
        say(t("twoway.unreached", side=side, code=code))
    if document.get("shut"):
        say(t("twoway.shut", stage=t(f"stage.{document['shut']['to']}"), why=document["shut"]["why"]))


def _show_records(document: Mapping[str, Any]) -> None:
    names = ("version", "origin")
    found = document["records"]
    fields = list(found[0]["row"]) if found else []
    rows: list[tuple[str, ...]] = [(*fields, *(t(f"column.{name}") for name in names))]
    for one in found:
        rows.append((*(short(value) for value in one["row"].values()), str(one["version"]), one["origin"]))
    table(rows if found else [])


def _show_conflicts(document: Mapping[str, Any]) -> None:
    if not document["conflicts"]:
        say(t("twoway.nothing_waits"))
        return
    for one in document["conflicts"]:
        say(
            t(
                f"twoway.{one['kind']}",
                number=one["id"],
                name=one["twoway"],
                key=one["key"].replace("\x1f", ", "),
                why=one["why"],
            )
        )
        for side, row in one["sides"].items():
            told = t("twoway.absent") if row is None else ", ".join(f"{k}={short(v)}" for k, v in row.items())
            say(f"  {side}: {told}")


def _show_resolved(document: Mapping[str, Any]) -> None:
    say(t("twoway.resolved", number=document["id"], name=document["twoway"]))


def _show_moved(document: Mapping[str, Any]) -> None:
    say(t("twoway.moved", name=document["twoway"], stage=t(f"stage.{document['stage']}"), why=document["why"]))


def _show_forgotten(document: Mapping[str, Any]) -> None:
    say(t("twoway.forgotten", name=document["twoway"], count=f"{document['forgotten']:,}"))


def _at(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
