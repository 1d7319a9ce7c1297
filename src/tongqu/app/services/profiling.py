"""`profile`: looks at a dataset, keeps what was seen, and compares it with what was seen before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from threading import Event
from typing import Any

from tongqu.app.services import reports
from tongqu.app.services.ends import Ends
from tongqu.app.services.tables import datasets_of
from tongqu.catalog.draft import draft
from tongqu.catalog.profile_changes import changes
from tongqu.catalog.profiling import profile
from tongqu.core.connector import Source
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, SchemaError, TongquError, learnt
from tongqu.core.scan import Scan
from tongqu.store.profiles import Profiles

_SURE = 0.5
"""Columns suspected at least so much of holding personal data have their values hidden."""
_UNIT_SURE = 0.8
_NUMBERS = ("mean", "deviation", "quantiles")
"""What tells the values of a column too: in a small table a quantile is somebody's."""


@dataclass(frozen=True)
class ProfileRequest:
    """The arguments of `profile`."""

    place: str
    table: str = ""
    sample: int | None = None
    top: int = 10
    compare: str = ""
    show_personal: bool = False
    html: Path | None = None
    draft: Path | None = None


@dataclass(frozen=True)
class Profiling:
    """Profiles datasets of an end; `store` opens the home's profiles, `page` draws a document as HTML."""

    ends: Ends
    store: Callable[[], Profiles]
    page: Callable[[Mapping[str, Any]], str]
    new_id: Callable[[], str]
    at: Callable[[], str]
    stop: Event

    def profile(self, request: ProfileRequest) -> dict[str, Any]:
        """The profile's document, with `id` and, if asked for, `compared` and `changes`. What is kept and written hides
        the values of columns that seem to be personal or secret; the document does unless they were asked for."""
        for name, number in (("--sample", request.sample), ("--top", request.top)):
            if number is not None and number < 1:
                raise InvalidSettingsError(f"{name} is at least 1 (got {number})", path=name)
        end = self.ends.end(request.place)
        with learnt():
            source = end.source()
            try:
                dataset = _one(source, request.table)
                with _scan(source, dataset, request.sample, self.stop) as scan:
                    found = profile(scan, dataset, sample=request.sample, top=request.top).to_json()
            finally:
                source.close()
        id, at = self.new_id(), self.at()
        hidden = masked(found)
        store = self.store()
        try:
            old = store.find(request.compare, end.identity, dataset.name) if request.compare else None
            store.add(id, at, end.identity, hidden)
        finally:
            store.close()
        document = {"id": id, "at": at, "place": end.settings.display(), **(found if request.show_personal else hidden)}
        if old is not None:
            document |= {"compared": {"id": old["id"], "at": old["at"]}, "changes": changes(old, hidden)}
        if request.html is not None:
            shown = {**document, **hidden}
            reports.write(request.html, self.page(shown))
        if request.draft is not None:
            reports.write(request.draft, draft_yaml({**hidden, "id": id}))
        return document


def _one(source: Source, table: str) -> Dataset:
    found = datasets_of(source, table, "source") if table else source.datasets(None)
    if len(found) != 1:
        names = ", ".join(dataset.name for dataset in found[:20])
        raise InvalidPlanError("name one table", path="--table", hint=f"there are: {names or 'none'}")
    if not found[0].columns:
        raise SchemaError(f"{found[0].name!r} has no column to look at", hint="is there a row in it that can be read?")
    return found[0]


@contextmanager
def _scan(source: Source, dataset: Dataset, sample: int | None, stop: Event) -> Iterator[Scan]:
    own = source.scan(dataset)
    if own is None:
        from tongqu.kit.scanning import spooled

        own = spooled(source, dataset, sample, stop)
    with own as scan:
        yield scan


def masked(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without the values of columns that seem to hold personal data or secrets."""
    return {**document, "columns": [_masked(column) for column in document["columns"]]}


def _masked(column: dict[str, Any]) -> dict[str, Any]:
    suspected = column["personal"]
    if not suspected or suspected["confidence"] < _SURE:
        return column
    secret = suspected["class"] == "secret"
    top = [{**entry, "value": _hidden(entry["value"], secret)} for entry in column["top"]]
    ends = {end: _hidden(column[end], secret) for end in ("min", "max")}
    patterns = [] if secret else [{**entry, "pattern": _shape(entry["pattern"])} for entry in column["patterns"]]
    shown = {name: value for name, value in column.items() if name not in _NUMBERS}
    return {**shown, **ends, "top": top, "patterns": patterns, "masked": True}


def _shape(pattern: str) -> str:
    """The pattern with the letters of every script hidden; Latin and Han ones are already."""
    return "".join(sign if sign.isascii() or not sign.isalnum() else "中" for sign in pattern)


def _hidden(value: Any, secret: bool) -> str | None:
    if value is None:
        return None
    text = str(value)
    return "***" if secret or len(text) < 2 else text[0] + "*" * min(len(text) - 1, 8)


def draft_yaml(document: Mapping[str, Any]) -> str:
    """The draft dictionary entry as YAML, with what is only suspected as comments above it."""
    from ruamel.yaml import YAML

    units, doubts = {}, []
    for column in document["columns"]:
        found = column["unit"]
        if found and found["confidence"] >= _UNIT_SURE and _accepted(found["value"]):
            units[column["name"]] = found["value"]
        elif found:
            doubts.append(f"# {column['name']}: unit {found['value']}? ({'; '.join(found['because'])})")
        if column["personal"]:
            words = column["personal"]
            doubts.append(f"# {column['name']}: {words['value']} ({words['class']}, {words['confidence']:.0%})")
    text = StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 110
    yaml.dump(draft(document, units), text)
    head = f"# draft from the profile {document.get('id', '')} of {document['dataset']}: read it before you use it"
    return "\n".join([head, *doubts, text.getvalue()])


def _accepted(unit: str) -> bool:
    from tongqu.meaning.units import conversion

    try:
        conversion(unit, unit)
    except TongquError:
        return False
    return True
