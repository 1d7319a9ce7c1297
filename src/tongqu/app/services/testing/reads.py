"""Runs the cases of datasets: reads the first rows and says how they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from time import monotonic
from typing import Any

import pyarrow as pa

from tongqu.app.services.testing.calls import quick, tested, wronged
from tongqu.app.services.testing.disturbing import disturbed
from tongqu.app.services.testing.targets import Target
from tongqu.catalog.cases.entries import CaseEntry
from tongqu.catalog.cases.judging import Outcome
from tongqu.core.connector import Source
from tongqu.core.data import Dataset, Read
from tongqu.core.errors import CancelledError, InvalidPlanError, TongquError
from tongqu.kit.egress.settings import Networked
from tongqu.kit.http.settings import HttpSettings


def outcomes(
    target: Target, case: CaseEntry, stop: Event, clock: Callable[[], float] = monotonic
) -> tuple[list[Outcome], dict[str, Any]]:
    """What came of reading a dataset, and the evidence: counts and names, and no value. Raises CancelledError."""
    found: list[Outcome] = []
    message = ""
    for _ in range(case.request.times):
        begun = clock()
        try:
            with _opened(target, case) as source:
                made = _read(source, case, stop)
        except CancelledError:
            raise
        except TongquError as error:
            made, message = Outcome(error=error.code), error.message
        found.append(replace(made, seconds=clock() - begun))
    last = found[-1]
    evidence = {"dataset": case.request.dataset, "rows": last.rows, "error": last.error, "answer": message.encode()}
    return found, evidence


@contextmanager
def _opened(target: Target, case: CaseEntry) -> Iterator[Source]:
    if target.connector.source is None:
        raise InvalidPlanError(f"{target.connector.name} cannot be read", path=target.name)
    settings = target.settings
    if case.request.credentials == "wrong" and isinstance(settings, HttpSettings):
        settings = wronged(tested(settings))
    if case.request.network is None or not isinstance(settings, Networked):
        source = target.connector.source(settings)
        try:
            yield source
        finally:
            source.close()
        return
    near = quick(settings) if isinstance(settings, HttpSettings) else settings
    with disturbed(near, case.request.network) as through:
        source = target.connector.source(through)
        try:
            yield source
        finally:
            source.close()


def _read(source: Source, case: CaseEntry, stop: Event) -> Outcome:
    request = case.request
    named = [one for one in source.datasets([request.dataset]) if one.name == request.dataset]
    if not named:
        return Outcome(error="connector.not_found")
    dataset = named[0]
    table = _first(source, dataset, request.rows, stop)
    fields = {field.name: str(field.type) for field in dataset.schema}
    key = [name for name in case.expect.key if name in table.column_names]
    nulls = tuple(name for name in key if table[name].null_count)
    doubles = 0
    if key:
        doubles = table.num_rows - table.select(key).group_by(key).aggregate([]).num_rows
    digest = hashlib.sha256()
    for batch in table.combine_chunks().to_batches():
        digest.update(str(batch.to_pydict()).encode())
    return Outcome(rows=table.num_rows, fields=fields, nulls=nulls, doubles=doubles, digest=digest.hexdigest())


def _first(source: Source, dataset: Dataset, rows: int, stop: Event) -> pa.Table:
    """The first rows of a dataset, read no further than needed."""
    enough = Event()
    parts: list[pa.Table] = []
    count = 0
    for split in source.splits(dataset, 1):
        for batch in source.read(Read(dataset, split, batch_rows=min(rows, 65_536), limit=rows, stop=enough)):
            if stop.is_set():
                raise CancelledError("stopped")
            parts.append(pa.Table.from_batches([batch.rows]).slice(0, rows - count))
            count += parts[-1].num_rows
            if count >= rows:
                enough.set()
                break
        if count >= rows:
            break
    return pa.concat_tables(parts, promote_options="default") if parts else dataset.schema.empty_table()
