"""`tongqu drill`: faults on a clone, the places where a run can be made to die, and attacks on one's own gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, short, table, tell
from tongqu.app.messages import t

if TYPE_CHECKING:
    from tongqu.app.services.drilling.clone import Asked

app = group()


@command(app, "drill", "command.drill", audited="what")
def drill(
    call: Call,
    *,
    what: Annotated[str, typer.Argument(metavar="[security]", help=t("drill.what"), show_default=False)] = "",
    points: Annotated[bool, typer.Option("--points", help=t("drill.points"))] = False,
    faults: Annotated[str, typer.Option("--faults", metavar="NAME,…|all", help=t("drill.faults"))] = "",
    source: Annotated[str, typer.Option("--source", metavar="SRC", help=t("drill.source"), show_default=False)] = "",
    sink: Annotated[str, typer.Option("--sink", metavar="DST", help=t("drill.sink"), show_default=False)] = "",
    mode: Annotated[str, typer.Option("--mode", metavar="incremental|cdc", help=t("drill.mode"))] = "",
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=1, max=86_400, help=t("drill.seconds"))] = 20,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help=t("drill.seed"))] = None,
    url: Annotated[str, typer.Option("--url", metavar="URL", help=t("drill.url"))] = "",
    api: Annotated[str, typer.Option("--api", metavar="/api/V/NAME", help=t("drill.api"))] = "",
    token: Annotated[str, typer.Option("--token", metavar="REF", help=t("drill.token"))] = "",
    field: Annotated[str, typer.Option("--field", metavar="NAME", help=t("drill.field"))] = "",
    requests: Annotated[int, typer.Option("--requests", metavar="N", min=1, help=t("drill.requests"))] = 1000,
    ca_file: Annotated[str, typer.Option("--ca", metavar="FILE", help=t("drill.ca"))] = "",
) -> int:
    """Do faults to a clone, list the crash points, or attack one's own gateway and report what got through."""
    if what not in ("", "security"):
        raise typer.BadParameter(t("usage.choice", value=what, valid="security"), param_hint="[security]")
    if what == "security":
        if not api:
            raise typer.BadParameter(t("drill.needs_api"), param_hint="--api")
        from tongqu.app.services.drilling.security import Target, drilled

        wire = call.wire()
        good = str(wire.references.resolve(token)) if token else ""
        document = drilled(wire, Target(url, api, good, field), most=requests, ca_file=ca_file)
        call.answer(document, _show_security)
        return 0 if document["ok"] else 3
    if faults:
        if mode not in ("", "incremental", "cdc"):
            raise typer.BadParameter(t("usage.choice", value=mode, valid="incremental, cdc"), param_hint="--mode")
        from tongqu.app.services.drilling.clone import Asked

        names = [name.strip() for name in faults.split(",") if name.strip()]
        return _faults(call, Asked(names, source, sink, seconds, mode, seed))
    from tongqu.kit.faults import POINTS

    if not points:
        raise typer.BadParameter(t("drill.needs_points"), param_hint="--points")
    call.answer({"points": [{"name": name, "description": text} for name, text in POINTS.items()]}, _show)
    return 0


def _faults(call: Call, asked: Asked) -> int:
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.services.drilling.clone import drilled as drilled_clone

    wire = call.wire()
    with stoppable(wire.stop):
        document = drilled_clone(wire, asked, lambda name, number: tell(t("drill.round", number=number, fault=name)))
    call.answer(document, _show_faults)
    return 0 if document["ok"] else 1


def _show_faults(document: Mapping[str, Any]) -> None:
    say(t("drill.played", **{name: document[name] for name in ("drill", "seed", "rounds", "peak_mb")},
          **document["operations"], **document["runs"]))  # fmt: skip
    struck = ", ".join(f"{one['name']} ×{one['struck']}" for one in document["faults"])
    say(t("drill.struck", faults=struck))
    heading = tuple(t(f"column.{name}") for name in ("name", "description", "result"))
    rows = [(one["name"], t(f"drill.invariant.{one['name']}"), t(_result(one))) for one in document["invariants"]]
    table([heading, *rows])
    for one in document["invariants"]:
        for example in one["wrong"]:
            say(f"  ! {one['name']}: {short(example, 160)}")
    say(t("drill.held" if document["ok"] else "drill.not_held", sha256=document["sha256"]))


def _result(invariant: Mapping[str, Any]) -> str:
    if not invariant["looked"]:
        return "drill.unlooked"
    return "drill.kept" if invariant["ok"] else "drill.broken"


def _show(document: Mapping[str, Any]) -> None:
    table([(t("column.name"), t("column.description")), *((p["name"], p["description"]) for p in document["points"])])


def _show_security(document: Mapping[str, Any]) -> None:
    say(t("drill.title", api=document["api"], url=document["url"], at=document["at"], config=document["config"] or "—"))
    names = ("family", "sent", "refused", "stopped", "passed", "broke")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    table([*rows, *(tuple(str(one[name]) for name in names) for one in document["families"])])
    for one in document["families"]:
        for example in one["examples"]:
            say(f"  ! {one['family']}: {short(example, 100)}")
    say(t("drill.harmless", refused=document["harmless_refused"], sent=document["harmless"]))
    for text in document["refused_texts"]:
        say(f"  ! {short(text, 100)}")
    _show_trend(document)
    say(t("drill.good" if document["ok"] else "drill.bad", digest=document["digest"]))


def _show_trend(document: Mapping[str, Any]) -> None:
    names = ("at", "sent", "passed", "broke", "harmless_refused")
    heading = tuple(t(f"column.{name}") for name in names)
    table([heading, *(tuple(str(one[name]) for name in names) for one in document["trend"])])
