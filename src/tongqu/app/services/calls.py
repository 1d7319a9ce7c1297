"""`calls list|show|undo|retry`: the calls that sinks without transactions have made, where their ledgers keep them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from tongqu.app.services.ends import End, Ends
from tongqu.app.services.quarantine import distinct
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, NotFoundError
from tongqu.kit.remote.calls import OUTCOMES, Which
from tongqu.kit.remote.handling import Handled
from tongqu.kit.remote.sink import RemoteSink
from tongqu.store.scrub import known

_INNER = ("sync", "digest", "size", "split")


def outcomes(given: str) -> tuple[str, ...]:
    """The outcomes of a comma list; none given means all. Raises InvalidSettingsError."""
    names = tuple(name.strip() for name in given.split(",")) if given else ()
    unknown = [name for name in names if name not in OUTCOMES]
    if unknown:
        valid = ", ".join(OUTCOMES)
        raise InvalidSettingsError(f"unknown outcome {unknown[0]!r}", path="--outcome", hint=f"outcomes: {valid}")
    return names


def rows(where: Sequence[str], ends: Ends, which: Which) -> dict[str, Any]:
    """The newest calls of these sinks, each with the sink it was made for."""
    found: list[dict[str, Any]] = []
    for end, sink in _sinks(where, ends):
        with closing(sink):
            found += [{**_told(call), "sink": end.name} for call in sink.calls(which)]
    found.sort(key=lambda call: (str(call["at"]), call["number"]), reverse=True)
    return {"calls": found[: which.limit]}


def row(id: str, where: Sequence[str], ends: Ends) -> dict[str, Any]:
    """The call of that idempotency key, with what was sent where that is kept; raises NotFoundError."""
    for end, sink in _sinks(where, ends):
        with closing(sink):
            found = sink.calls(Which(ids=(id,)))
        if found:
            return {"calls": [{**_told(found[0]), "row": found[0]["row"], "sink": end.name}]}
    raise NotFoundError(
        f"there is no call {id!r} (looked in: {', '.join(where) or 'no sink is known'})",
        path=id,
        hint="tongqu calls list shows them; name the sink with --in URL if it is not one of these",
    )


def undo(where: Sequence[str], ends: Ends, which: Which) -> dict[str, Any]:
    """Take back the calls that are meant; `ok` unless one could not be."""
    return _handled([one for _, sink in _sinks(where, ends) for one in _done(sink, sink.undo_calls, which)], "undone")


def retry(where: Sequence[str], ends: Ends, which: Which) -> dict[str, Any]:
    """Make the calls that are meant again; `ok` unless one was not carried out."""
    return _handled([one for _, sink in _sinks(where, ends) for one in _done(sink, sink.retry_calls, which)], "ok")


def _done(sink: RemoteSink, act: Callable[[Which], list[Handled]], which: Which) -> list[Handled]:
    with closing(sink):
        return act(which)


def _handled(found: Sequence[Handled], good: str) -> dict[str, Any]:
    done = sum(one.state == good for one in found)
    return {
        "ok": done == len(found),
        "done": done,
        "not_done": len(found) - done,
        "calls": [{"id": one.id, "state": one.state, "message": one.message} for one in found],
    }


def _sinks(where: Sequence[str], ends: Ends) -> Iterator[tuple[End, RemoteSink]]:
    """The sinks that are written call by call; raises InvalidPlanError if only others were named."""
    met = False
    others: list[str] = []
    for end in distinct(where, ends):
        sink = end.sink()
        if isinstance(sink, RemoteSink):
            met = True
            yield end, sink
        else:
            others.append(end.name)
            sink.close()
    if others and not met and len(where) == len(others):
        raise InvalidPlanError(
            f"{', '.join(others)}: written in transactions, so there is no ledger of calls",
            hint="name a sink that is written call by call (REST, SOAP, mail)",
        )


def _told(call: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in call.items() if name not in (*_INNER, "row")}
    return {**told, "detail": known.text(str(call["detail"]))}
