"""Which scenarios of a checklist an interface covers: found by words and fields, each verdict with its reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.catalog.assessing.checklist import Checklist, ScenarioSettings
from tongqu.catalog.assessing.shapes import Interface, Operation, fields
from tongqu.catalog.assessing.traits import incremental, pages
from tongqu.catalog.assessing.words import Text, heads, lead
from tongqu.catalog.matching import Source, Standard, suggest

SURE = 80
"""A field that is less alike (0 to 100, see `catalog.matching`) is not taken for the one that is wanted."""

_WRAPPINGS = frozenset(
    ["data", "body", "result", "record", "item", "payload", "request", "response", "entity", "attributes", "properties"]
)
_TITLE = 80
"""A longer title is prose, in which any word may stand."""


@dataclass(frozen=True)
class FoundField:
    """A field of the scenario in the document, and why it is taken for it."""

    path: str
    place: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """Whether a scenario is covered. `state`: covered; partial (an operation is there, but lacks what `lacks` names);
    missing (no operation)."""

    scenario: str
    title: Mapping[str, str]
    weight: float
    state: str
    operation: str = ""
    place: str = ""
    because: tuple[str, ...] = ()
    fields: Mapping[str, FoundField] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """The verdicts of a checklist."""

    checklist: str
    title: Mapping[str, str]
    verdicts: tuple[Verdict, ...]

    @property
    def score(self) -> float:
        """The weight of covered scenarios in the weight of all; what is partial does not count."""
        whole = sum(one.weight for one in self.verdicts)
        return sum(one.weight for one in self.verdicts if one.state == "covered") / whole

    @property
    def key_places(self) -> frozenset[str]:
        """The places of the fields that scenarios need."""
        return frozenset(one.place for verdict in self.verdicts for one in verdict.fields.values())


def coverage(interface: Interface, checklist: Checklist) -> Coverage:
    """The verdict on every scenario, in the checklist's order."""
    texts = [(op, Text.of(op.names), Text.of(f"{op.names} {_short(op.title)}")) for op in interface.operations]
    verdicts = [_verdict(name, wanted, texts) for name, wanted in checklist.scenarios.items()]
    return Coverage(checklist.name, _title(checklist.title), tuple(verdicts))


def _short(title: str) -> str:
    return title if len(title) <= _TITLE else ""


def _verdict(name: str, wanted: ScenarioSettings, texts: Sequence[tuple[Operation, Text, Text]]) -> Verdict:
    best: Verdict | None = None
    for operation, because in _candidates(wanted, texts):
        found = dict(_found(wanted, operation))
        lacks = [one for one in wanted.fields if one not in found]
        lacks += [f"@{need}" for need in wanted.needs if not _has(operation, need)]
        state = "partial" if lacks else "covered"
        verdict = Verdict(
            name,
            _title(wanted.title),
            wanted.weight,
            state,
            operation.label,
            operation.place,
            because,
            found,
            tuple(lacks),
        )
        if not lacks:
            return verdict
        if best is None or len(lacks) < len(best.lacks):
            best = verdict
    return best or Verdict(name, _title(wanted.title), wanted.weight, "missing")


def _candidates(
    wanted: ScenarioSettings, texts: Sequence[tuple[Operation, Text, Text]]
) -> Iterator[tuple[Operation, tuple[str, ...]]]:
    """Operations that do it and are about it: every group has a phrase in the operation's names or short title, and one
    is in the names or is what the title is about. Deprecated ones come last, those that say little else first."""
    found: list[tuple[bool, int, int, Operation, tuple[str, ...]]] = []
    for number, (operation, named, text) in enumerate(texts):
        does = [verb for verb in wanted.does if verb in operation.does]
        if not does or any(text.has(phrase) for phrase in wanted.unless):
            continue
        about = [next((phrase for phrase in group if text.has(phrase)), "") for group in wanted.about]
        if not all(about):
            continue
        if any(named.has(one) or heads(operation.title, one) for group in wanted.about for one in group):
            because = (f"{operation.method}: {does[0]}", *(f"“{phrase}”" for phrase in about))
            found.append((operation.deprecated, text.length, number, operation, because))
    for _, _, _, operation, because in sorted(found, key=lambda one: one[:3]):
        yield operation, because


def _has(operation: Operation, need: str) -> bool:
    if need == "list":
        return operation.records is not None
    return pages(operation) if need == "paging" else incremental(operation)


def _found(wanted: ScenarioSettings, operation: Operation) -> Iterator[tuple[str, FoundField]]:
    """The scenario's fields among what the operation exchanges: in the records it gives if it reads or tells, else in
    what it takes."""
    if not wanted.fields:
        return
    verbs = operation.does.intersection(wanted.does)
    gives = bool(verbs & {"read", "notify"})
    shape = (operation.records or operation.gives) if gives else operation.sends
    sources = [(path, one.place, Source(_own(path, wanted), lead(one.description))) for path, one in fields(shape)]
    if not gives:
        sources += [(one.name, one.place, Source(one.name, lead(one.description))) for one in operation.parameters]
    for name, others in wanted.fields.items():
        standard = Standard(name, tuple(others))
        best: tuple[int, FoundField] | None = None
        for path, place, source in sources:
            match = next(iter(suggest([source], [standard])), None)
            if match and match.confidence >= SURE and (best is None or match.confidence > best[0]):
                best = match.confidence, FoundField(path, place, match.reason)
        if best is not None:
            yield name, best[1]


def _own(path: str, wanted: ScenarioSettings) -> str:
    """What a field is called: with the object it stands in (`customer.name` is a customer's name), unless that is an
    array, a wrapping, or the very thing that the scenario is about."""
    above, _, name = path.rpartition(".")
    parent = above.rpartition(".")[2]
    if not parent or parent.endswith("[]") or parent.lower() in _WRAPPINGS:
        return name
    text = Text.of(parent)
    return name if any(text.has(phrase) for group in wanted.about for phrase in group) else f"{parent}_{name}"


def _title(title: Mapping[Any, str]) -> dict[str, str]:
    return {str(language): text for language, text in title.items()}
