"""`tongqu queue`: the topics of durable queues, who reads them and how far behind; reading again, dropping the old."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

app = group()

Where = Annotated[str, typer.Argument(metavar="QUEUE", help=t("queue.queue"), show_default=False)]
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help=t("queue.topic"), show_default=False)]
Reader = Annotated[str, typer.Argument(metavar="READER", help=t("queue.reader"), show_default=False)]


@command(app, "list", "queue.list", managed=True)
def list_queues(
    call: Call,
    where: Annotated[
        list[str] | None, typer.Argument(metavar="[QUEUE]...", help=t("queue.queues"), show_default=False)
    ] = None,
) -> int:
    """List queues with their topics."""
    hide_passwords(sys.argv[1:])
    local = any(":" in place for place in where or ())
    call.answer(call.ask("queue.list", local=local, where=where or []), _show_list)
    return 0


@command(app, "show", "queue.show", managed=True)
def show(
    call: Call,
    queue: Where,
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help=t("queue.topic"), show_default=False)] = "",
) -> int:
    """Show a queue with its readers."""
    call.answer(_asked(call, "queue.show", queue, topic=topic), _show_one)
    return 0


@command(app, "replay", "queue.replay", audited=True, managed=True)
def replay(
    call: Call,
    queue: Where,
    topic: Topic,
    reader: Reader,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help=t("queue.after"))] = 0,
) -> int:
    """Have a pipeline read records again."""
    document = _asked(call, "queue.replay", queue, topic=topic, reader=reader, after=after)
    call.answer(document, lambda done: say(t("queue.was_replayed", reader=done["reader"], after=done["after"])))
    return 0


@command(app, "trim", "queue.trim", audited=True, managed=True)
def trim(
    call: Call,
    queue: Where,
    topic: Topic,
    *,
    to: Annotated[int | None, typer.Option("--to", metavar="N", min=0, help=t("queue.to"), show_default=False)] = None,
    bytes: Annotated[
        int | None, typer.Option("--bytes", metavar="N", min=0, help=t("queue.bytes"), show_default=False)
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", metavar="N", min=0, help=t("queue.days"), show_default=False)
    ] = None,
    unread: Annotated[bool, typer.Option("--unread", help=t("queue.unread"))] = False,
) -> int:
    """Drop the oldest records of a topic."""
    document = _asked(call, "queue.trim", queue, topic=topic, to=to, bytes=bytes, days=days, unread=unread)
    call.answer(document, lambda done: say(t("queue.was_trimmed", count=done["dropped"])))
    return 0


@command(app, "forget", "queue.forget", audited=True, managed=True)
def forget(call: Call, queue: Where, reader: Reader) -> int:
    """Keep nothing for a reader any more."""
    document = _asked(call, "queue.forget", queue, reader=reader)
    call.answer(document, lambda done: say(t("queue.was_forgotten", reader=done["reader"], count=done["topics"])))
    return 0


def _asked(call: Call, operation: str, queue: str, **given: Any) -> Mapping[str, Any]:
    """Through a server where the queue is named by its connection; files are only ever opened from here."""
    hide_passwords(sys.argv[1:])
    return call.ask(operation, local=":" in queue, queue=queue, **given)


def _show_list(document: Mapping[str, Any]) -> None:
    names = ("queue", "topic", "kind", "records", "bytes", "readers", "behind")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for queue in document["queues"]:
        for topic in queue["topics"]:
            behind = max((one["behind_records"] for one in topic["readers"]), default=0)
            told = (topic["name"], topic["kind"], topic["records"], topic["bytes"], len(topic["readers"]), behind)
            rows.append((queue["queue"], *map(_cell, told)))
    if len(rows) == 1:
        say(t("queue.none"))
        return
    table(rows)


def _show_one(document: Mapping[str, Any]) -> None:
    _show_list({"queues": [document]})
    names = ("topic", "reader", "after", "behind", "bytes", "seconds", "at")
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for topic in document["topics"]:
        for one in topic["readers"]:
            told = (one["name"], one["after"], one["behind_records"], one["behind_bytes"], one["behind_seconds"])
            rows.append((topic["name"], *map(_cell, told), one["seen_at"] or "-"))
    if len(rows) > 1:
        table(rows)
    for cut in document["cuts"]:
        say(t("queue.was_cut", at=cut["at"], bytes=cut["bytes"], after=cut["after"]))


def _cell(value: Any) -> str:
    """What the system does not tell is a line."""
    return "-" if value is None else str(value)
