"""`tongqu draft`: versions of APIs that are not published yet, what reviewers say of them, and publishing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.api import asked_password
from tongqu.app.cli.call import Call, command, group, say, short, table
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("draft.name"), show_default=False)]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("draft.reason"))]
Signs = Annotated[str, typer.Option("--as", metavar="NAME", help=t("draft.as"))]
Code = Annotated[str, typer.Option("--code", metavar="CODE", help=t("api.approve.code"))]


@command(app, "list", "draft.list", managed=True)
def list_drafts(call: Call) -> int:
    """List the drafts of the version that counts."""
    document = call.ask("draft.list")
    call.answer(document, _show_list)
    return 3 if any(one["state"] == "open" for one in document["drafts"]) else 0


@command(app, "show", "draft.show", managed=True)
def show(call: Call, name: Name) -> int:
    """Show what a draft changes and what was said of it."""
    call.answer(call.ask("draft.show", name=name), _show_one)
    return 0


@command(app, "comment", "draft.comment", audited=True, managed=True)
def comment(
    call: Call,
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT", help=t("draft.text"), show_default=False)],
    on: Annotated[str, typer.Option("--on", metavar="PLACE", help=t("draft.on"))] = "",
) -> int:
    """Say something about a draft or one place in it."""
    call.answer(call.ask("draft.comment", name=name, text=text, on=on), _show_one)
    return 0


@command(app, "resolve", "draft.resolve", audited=True, managed=True)
def resolve(
    call: Call,
    name: Name,
    id: Annotated[int, typer.Argument(metavar="N", min=1, help=t("draft.id"), show_default=False)],
) -> int:
    """A comment is dealt with."""
    call.answer(call.ask("draft.resolve", name=name, id=id), _show_one)
    return 0


@command(app, "approve", "draft.approve", audited=True, managed=True)
def approve(call: Call, name: Name, reason: Reason = "", signer: Signs = "", code: Code = "") -> int:
    """Approve a draft as it is now."""
    return _judge(call, "draft.approve", name, reason, (signer, code))


@command(app, "reject", "draft.reject", audited=True, managed=True)
def reject(call: Call, name: Name, reason: Reason = "", signer: Signs = "", code: Code = "") -> int:
    """Reject a draft as it is now."""
    return _judge(call, "draft.reject", name, reason, (signer, code))


@command(app, "publish", "draft.publish", audited=True, managed=True)
def publish(
    call: Call,
    name: Name,
    reason: Reason = "",
    accept: Annotated[bool, typer.Option("--accept-breaking", help=t("apply.accept"))] = False,
) -> int:
    """Publish a draft that was approved."""
    document = call.ask("draft.publish", name=name, reason=reason, accept=accept)
    call.answer(document, _show_published)
    return 3 if document["state"] == "proposed" else 0


def _judge(call: Call, operation: str, name: str, reason: str, signature: tuple[str, str]) -> int:
    signer, code = signature
    told: dict[str, Any] = {"as": signer, "code": code, "password": asked_password(signer)} if signer else {}
    call.answer(call.ask(operation, name=name, reason=reason, **told), _show_one)
    return 0


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["drafts"]:
        say(t("draft.none"))
        return
    names = ("draft", "path", "author", "state", "approvals", "comments")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for one in document["drafts"]:
        approvals = f"{len(one['approvals'])}/{one['needed']}"
        state = t(f"draft.state.{one['state']}")
        rows.append((one["draft"], one["path"], one["author"], state, approvals, str(one["open_comments"])))
    table(rows)


def _show_one(document: Mapping[str, Any]) -> None:
    _show_list({"drafts": [document]})
    if document["changes"]:
        names = ("place", "before", "after")
        rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
        table([*rows, *((short(one["at"]), short(one["before"]), short(one["after"])) for one in document["changes"])])
    for one in document["comments"]:
        mark = "✓" if one["resolved_at"] else "•"
        place = f" [{one['on']}]" if one["on"] else ""
        say(f"{mark} {one['id']} {one['at']} {one['who']}{place}: {one['text']}")
    for one in document["verdicts"]:
        reason = f": {one['reason']}" if one["reason"] else ""
        say(f"{one['at']} {one['who']} {t('draft.state.' + one['verdict'])}{reason}")


def _show_published(document: Mapping[str, Any]) -> None:
    word = "draft.proposed" if document["state"] == "proposed" else "draft.published"
    say(t(word, path=document["path"], version=document["version"]))
