"""`tongqu test`: makes the cases of a connection, and runs them against its system, a sandbox or a mock."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, tell
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

app = group()
_GENERATE = "generate"
_ATTENTION = 3


@command(app, "test", "command.test")
def test(
    call: Call,
    *,
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[generate CONNECTION | CASES]...", help=t("test.cases"), show_default=False),
    ] = None,
    connection: Annotated[
        list[str] | None, typer.Option("--connection", metavar="NAME", help=t("test.connection"), show_default=False)
    ] = None,
    operation: Annotated[
        list[str] | None, typer.Option("--operation", metavar="GLOB", help=t("test.operation"), show_default=False)
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="normal|boundary|abnormal", help=t("test.kind"), show_default=False),
    ] = None,
    against: Annotated[str, typer.Option("--against", metavar="mock|URL", help=t("test.against"))] = "",
    allow_writes: Annotated[bool, typer.Option("--allow-writes", help=t("test.allow_writes"))] = False,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help=t("test.junit"), show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help=t("test.html"), show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help=t("test.seed"))] = 1,
) -> int:
    """Make cases, or run them."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.cli.stopping import stoppable
    from tongqu.app.services.testing.cases import CaseRun

    wire = call.wire()
    words = list(cases or ())
    with stoppable(wire.stop):
        if words[:1] == [_GENERATE]:
            made = _generated(wire, [*words[1:], *(connection or ())], operation or [], seed)
            call.answer(made, _show_made)
            return _ATTENTION if made["attention"] else 0
        request = CaseRun(
            tuple(words), tuple(connection or ()), tuple(operation or ()), tuple(kind or ()), against, allow_writes,
            junit, html,
        )  # fmt: skip
        document = wire.testing(seed).run(request, _tell)
    call.answer(document, _show)
    if not document["ok"]:
        return 1
    return _ATTENTION if document["counts"]["needs"] or not document["counts"]["passed"] else 0


def _generated(wire: Any, connections: list[str], operations: list[str], seed: int) -> dict[str, Any]:
    from tongqu.core.errors import InvalidPlanError

    if not connections:
        raise InvalidPlanError("name a connection", path="generate", hint="tongqu test generate CONNECTION")
    made = [wire.testing(seed).generate(one, operations, seed) for one in connections]
    attention = any(
        one["orphans"] or any(f["obsolete"] or f["edited"] or f["needs"] for f in one["files"]) for one in made
    )
    return {"connections": made, "attention": attention}


def _tell(result: Mapping[str, Any]) -> None:
    if result["outcome"] == "failed":
        where = f"{result['connection']} {result['operation']}"
        tell(f"✗ {where}: {result['title']} ({result['case']}): {result['reason']}")


def _show(document: Mapping[str, Any]) -> None:
    reasons: dict[str, int] = {}
    for one in document["cases"]:
        if one["outcome"] in ("skipped", "needs"):
            reasons[one["reason"]] = reasons.get(one["reason"], 0) + 1
    for reason, count in reasons.items():
        say(t("test.left_out", count=count, reason=reason))
    say(t("test.done", seconds=f"{document['seconds']:.1f}", **document["counts"]))
    for path in document["reports"].values():
        say(t("test.report", path=path))


def _show_made(document: Mapping[str, Any]) -> None:
    for one in document["connections"]:
        for file in one["files"]:
            say(t(
                "test.made", file=file["file"], cases=file["cases"], new=len(file["new"]), changed=len(file["changed"])
            ))  # fmt: skip
            for word in ("edited", "obsolete", "needs"):
                if file[word]:
                    say("  " + t(f"test.made.{word}", names=", ".join(file[word])))
        for path in one["orphans"]:
            say(t("test.orphan", file=path))
