"""`tongqu privacy`: where personal data stand, what is known of a person, erasure, who read whom, the legal record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, short, table, tell_problem
from tongqu.app.messages import t, translated

if TYPE_CHECKING:
    from tongqu.app.services.privacy.answering import Privacy
    from tongqu.app.services.privacy.keeping import Keeping

app = group()
Subject = Annotated[list[str], typer.Option("--subject", metavar="KEY=VALUE", help=t("privacy.subject"))]
Subjects = Annotated[list[str] | None, typer.Option("--subject", metavar="KEY=VALUE", help=t("privacy.subject"))]
Dataset = Annotated[str, typer.Option("--dataset", metavar="NAME", help=t("privacy.dataset"))]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help=t("privacy.reason"))]
Yes = Annotated[bool, typer.Option("--yes", help=t("privacy.yes"))]
Since = Annotated[str, typer.Option("--since", metavar="TIME", help=t("audit.since"))]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help=t("audit.until"))]


@command(app, "catalogue", "privacy.catalogue")
def catalogue(
    call: Call,
    *,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help=t("privacy.catalogue.file"))] = None,
) -> int:
    """List every personal field and who sees it."""
    document = _service(call).catalogue()
    if file is not None:
        from tongqu.app.services.privacy.catalogue import kept

        kept(document, file)
    return _told(call, document, _show_catalogue)


@command(app, "find", "privacy.find")
def find(call: Call, *, subject: Subject) -> int:
    """Show where rows of a person stand."""
    return _told(call, _service(call).find(subject), lambda found: _show_places(found, ("rows", "erase")))


@command(app, "export", "privacy.export")
def export(
    call: Call,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=t("privacy.file"), show_default=False)],
    *,
    subject: Subject,
) -> int:
    """Write all rows of a person into a file."""
    document = _service(call).export(subject, file)
    return _told(call, document, lambda done: say(t("privacy.exported", rows=done["rows"], file=done["file"])))


@command(app, "erase", "privacy.erase")
def erase(
    call: Call,
    *,
    subject: Subject,
    reason: Reason = "",
    yes: Yes = False,
) -> int:
    """Erase a person, for good."""
    document = _service(call).erase(subject, reason, sure=yes)
    names = ("action", "rows", "erased", "left")
    code = _told(call, document, lambda done: _show_places(done, names))
    if not document["done"] and not call.json:
        say(t("privacy.not_done"))
    return code


@command(app, "tombstones", "privacy.tombstones")
def tombstones(call: Call) -> int:
    """List erased persons by digest."""
    return _told(call, _service(call).tombstones(), _show_tombstones)


@command(app, "breach", "privacy.breach")
def breach(
    call: Call,
    *,
    client: Annotated[str, typer.Option("--client", metavar="CLIENT", help=t("privacy.client"))] = "",
    subject: Subjects = None,
    since: Since = "",
    until: Until = "",
) -> int:
    """Show whose rows a client was given."""
    return _told(call, _service(call).breach(client, subject or [], since, until), _show_breach)


@command(app, "record", "privacy.record")
def record(call: Call) -> int:
    """Show the record of processing."""
    return _told(call, _service(call).record(), _show_record)


@command(app, "holds", "privacy.holds")
def holds(call: Call) -> int:
    """List legal holds."""
    return _told(call, _keeping(call).holds(), _show_holds)


@command(app, "hold", "privacy.hold")
def hold(call: Call, *, subject: Subjects = None, dataset: Dataset = "", reason: Reason = "") -> int:
    """Let a person's rows, or those of a dataset, stay."""
    return _told(call, _keeping(call).hold(subject or [], dataset, reason), _show_holds)


@command(app, "release", "privacy.release")
def release(call: Call, *, subject: Subjects = None, dataset: Dataset = "", reason: Reason = "") -> int:
    """End a legal hold."""
    return _told(call, _keeping(call).release(subject or [], dataset, reason), _show_holds)


@command(app, "purge", "privacy.purge")
def purge(
    call: Call, *, at: Annotated[str, typer.Option("--at", metavar="DAY", help=t("privacy.at"))] = "", yes: Yes = False
) -> int:
    """End what is kept too long."""
    from tongqu.app.services.privacy.keeping import instant

    document = _keeping(call).purge(instant(at), sure=yes)
    names = ("table", "what", "days", "due", "purged", "held", "left")
    code = _told(call, document, lambda done: _lines(names, done["tables"]))
    if not document["done"] and not call.json:
        say(t("privacy.not_done"))
    return code


def _keeping(call: Call) -> Keeping:
    from tongqu.app.services.privacy.keeping import Keeping

    return Keeping(_service(call))


def _service(call: Call) -> Privacy:
    from tongqu.app.services.privacy.answering import Privacy

    return Privacy(call.wire())


def _told(call: Call, document: Mapping[str, Any], human: Any) -> int:
    """Print it with its problems; the exit code."""
    problems = document.get("problems", [])
    told = {**document, "problems": [translated(one) for one in problems]} if problems else document
    call.answer(told, human)
    for problem in problems:
        tell_problem(problem)
    return 0 if document.get("ok", True) else 1


def _lines(names: tuple[str, ...], found: Sequence[Mapping[str, Any]]) -> None:
    rows: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    table([*rows, *(tuple(short(one.get(name)) or "—" for name in names) for one in found)])


def _show_catalogue(document: Mapping[str, Any]) -> None:
    found = []
    for one in document["fields"]:
        seen = [f"{api['path']}: {', '.join(api['roles']) or '—'}" + (f" ({api['mask']})" if api["mask"] else "")
                for api in one["apis"]]  # fmt: skip
        found.append({**one, "shown": "; ".join(seen)})
    _lines(("dataset", "field", "class", "identifies", "erase", "shown"), found)


def _show_places(document: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in document["subject"]:
        say(name)
    _lines(("connection", "table", *names), document["places"])


def _show_tombstones(document: Mapping[str, Any]) -> None:
    _lines(("at", "identity", "digest", "who", "reason"), document["tombstones"])


def _show_holds(document: Mapping[str, Any]) -> None:
    _lines(("at", "identity", "digest", "dataset", "who", "reason"), document["holds"])


def _show_breach(document: Mapping[str, Any]) -> None:
    say(t("privacy.read", persons=len(document["persons"]) + len(document["unnamed"]), calls=document["calls"]))
    _lines(("identity", "value", "digest", "calls", "first", "last"), [*document["persons"], *document["unnamed"]])
    _lines(("client", "calls", "first", "last"), document["clients"])


def _show_record(document: Mapping[str, Any]) -> None:
    for one in document["activities"]:
        say(f"{one['api']}  {one['title']}".rstrip())
        told = {
            "purposes": ", ".join(f"{p['title'] or p['name']} ({p['basis'] or '—'})" for p in one["purposes"]),
            "persons": ", ".join(one["persons"]),
            "fields": ", ".join(f"{f['title'] or f['field']} ({f['class']})" for f in one["fields"]),
            "recipients": ", ".join(f"{r['client']} ×{r['calls']}" for r in one["recipients"]),
            "erase": one["erase"],
        }
        for name, text in told.items():
            say(f"  {t(f'column.{name}')}: {text or '—'}")
