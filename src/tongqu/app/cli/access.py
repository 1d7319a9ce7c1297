"""`tongqu access`: reviews of who may what, decisions that are signed off, and what expires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.messages import t

app = group()
Subject = Annotated[str, typer.Argument(metavar="client:NAME|user:NAME", help=t("access.subject"), show_default=False)]


@command(app, "review", "access.review")
def review(
    call: Call, unused: Annotated[int, typer.Option("--unused", metavar="DAYS", min=1, help=t("access.unused"))] = 90
) -> int:
    """Show who has what they do not use or should not have."""
    document = call.wire().reviewing().review(unused)
    call.answer(document, _show_review)
    return 3 if document["findings"] or document["expiring"] else 0


@command(app, "decide", "access.decide", audited=True)
def decide(
    call: Call,
    subject: Subject,
    *,
    keep: Annotated[bool, typer.Option("--keep", help=t("access.keep"))] = False,
    withdraw: Annotated[list[str] | None, typer.Option("--withdraw", metavar="ROLE", help=t("access.withdraw"))] = None,
    disable: Annotated[bool, typer.Option("--disable", help=t("access.disable"))] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("access.reason"))] = "",
) -> int:
    """Sign off what somebody may, or withdraw it."""
    from tongqu.app.services.reviewing import Decision

    if keep == bool(withdraw or disable):
        raise typer.BadParameter(t("access.one_decision"))
    document = call.wire().reviewing().sign_off(Decision(subject, withdraw or (), disable, reason))
    told = t(f"access.decision.{document['decision']}")
    call.answer(document, lambda made: say(t("access.decided", subject=made["subject"], decision=told)))
    return 0


@command(app, "history", "access.history")
def history(
    call: Call,
    subject: Annotated[str, typer.Argument(metavar="[client:NAME|user:NAME]", help=t("access.subject"))] = "",
) -> int:
    """Show what was decided, by whom."""
    call.answer(call.wire().reviewing().history(subject), _show_history)
    return 0


@command(app, "expiring", "access.expiring")
def expiring(call: Call, new: Annotated[bool, typer.Option("--new", help=t("access.new"))] = False) -> int:
    """Show keys, certificates, passwords and accounts that end soon."""
    document = call.wire().reviewing().expiring(new=new)
    call.answer(document, _show_expiring)
    return 3 if document["expiring"] else 0


def _show_review(document: Mapping[str, Any]) -> None:
    names = ("subject", "roles", "used", "reviewed")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["subjects"]:
        reviewed = one["reviewed"]["at"] if one["reviewed"] else "—"
        rows.append((one["subject"], ", ".join(one["roles"]) or "—", one["used"] or "—", reviewed))
    table(rows)
    for one in document["subjects"]:
        for found in one["findings"]:
            say(f"{one['subject']}: {t('access.finding.' + found['code'], about=found['about'] or '—')}")
    if document["expiring"]:
        say("")
        _show_expiring(document)


def _show_history(document: Mapping[str, Any]) -> None:
    names = ("at", "subject", "decision", "actor", "reason")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["reviews"]:
        told = {**one, "decision": t(f"access.decision.{one['decision']}")}
        rows.append(tuple(str(told[name]) or "—" for name in names))
    table(rows)


def _show_expiring(document: Mapping[str, Any]) -> None:
    names = ("subject", "item", "expires", "days")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    table([*rows, *(tuple(str(one[name]) for name in names) for one in document["expiring"])])
