"""Whether what came of a case is what must come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tongqu.catalog.cases.entries import ExpectEntry


@dataclass(frozen=True)
class Outcome:
    """What came of asking once. `error` is the code of the error that was raised, if one was; `digest` tells answers
    apart; `wrong` are the places where an answer is not as described."""

    status: int = 0
    error: str = ""
    seconds: float = 0.0
    rows: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    nulls: Sequence[str] = ()
    """Fields of the key with empty values."""
    doubles: int = 0
    """Rows whose key came before."""
    wrong: Sequence[tuple[str, str]] = ()
    digest: str = ""


@dataclass(frozen=True)
class Failure:
    """One thing that is not as it must be: the id of a message and what fills it."""

    id: str
    params: Mapping[str, str]


def judged(expect: ExpectEntry, outcomes: Sequence[Outcome]) -> list[Failure]:
    """What is wrong with what came of a case; nothing if it passed."""
    found = [one for outcome in outcomes for one in _one(expect, outcome)]
    if expect.same and len({(one.status, one.error, one.digest) for one in outcomes}) > 1:
        found.append(Failure("test.failure.same", {"count": str(len(outcomes))}))
    whole = sum(one.seconds for one in outcomes)
    if expect.seconds is not None and whole > expect.seconds:
        found.append(Failure("test.failure.seconds", {"seconds": f"{whole:.1f}", "most": f"{expect.seconds:g}"}))
    return [one for number, one in enumerate(found) if one not in found[:number]]


def _one(expect: ExpectEntry, outcome: Outcome) -> Iterator[Failure]:
    by_status = bool(outcome.status) and any(_is(outcome.status, one) for one in expect.status)
    by_error = bool(outcome.error) and outcome.error in expect.error
    right = [*expect.status, *expect.error]
    if not by_status and not by_error:
        shown = " ".join(str(one) for one in (outcome.status or "", outcome.error) if one)
        if outcome.error or outcome.status >= 400:
            if right or not outcome.status or outcome.status >= 500:
                yield Failure("test.failure.outcome", {"got": shown, "right": ", ".join(right) or "2xx"})
            return
        if right and (expect.status or not (expect.fields or expect.least_rows is not None)):
            yield Failure("test.failure.outcome", {"got": shown or "ok", "right": ", ".join(right)})
            return
    if outcome.error:
        return
    yield from _answer(expect, outcome)


def _answer(expect: ExpectEntry, outcome: Outcome) -> Iterator[Failure]:
    """What a successful answer must be like."""
    if expect.conforms:
        for place, wrong in list(outcome.wrong)[:10]:
            yield Failure("test.failure.conforms", {"place": place, "wrong": wrong})
    if outcome.rows is not None:
        if expect.least_rows is not None and outcome.rows < expect.least_rows:
            yield Failure("test.failure.rows", {"rows": str(outcome.rows), "right": f">= {expect.least_rows}"})
        if expect.most_rows is not None and outcome.rows > expect.most_rows:
            yield Failure("test.failure.rows", {"rows": str(outcome.rows), "right": f"<= {expect.most_rows}"})
    for name, kind in expect.fields.items():
        if outcome.fields.get(name, "") != kind:
            got = outcome.fields.get(name, "-")
            yield Failure("test.failure.field", {"name": name, "got": got, "right": kind})
    for name in outcome.nulls:
        yield Failure("test.failure.key_null", {"name": name})
    if outcome.doubles:
        yield Failure("test.failure.key_double", {"count": str(outcome.doubles)})


def _is(status: int, expected: str) -> bool:
    return str(status)[0] == expected[0] if expected.endswith("xx") else str(status) == expected
