"""Deletes at the peer the rows that stayed away from a whole generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.data import Split, WriteMode
from tongqu.core.errors import WriteError
from tongqu.kit.originals import originals, restored
from tongqu.kit.remote.session import RemoteSession
from tongqu.kit.remote.writer import Writer

if TYPE_CHECKING:
    from tongqu.kit.remote.sink import Landing, RemoteSink

_AT_ONCE = 10_000
SPLIT = "#missing"
"""The part of a stream that the deletes belong to."""


def delete_missing(sink: RemoteSink, landing: Landing, writer: Writer) -> int:
    """Delete what did not come in this run: of all that the peer has for a replace, else of what it was given by this
    project. Returns how many rows; what an earlier attempt has deleted counts again. Raises WriteError if the peer
    refuses to delete one."""
    write = landing.write
    if write.mode is WriteMode.REPLACE:
        missing, found = _listed(sink, landing, writer)
        if missing and not found:
            _recognised(sink, landing, missing)
    else:
        with sink.journal.transaction() as books:
            missing = books.calls.stayed_away(write.dataset.name, write.run)
    schema = _keys(landing)
    session = RemoteSession(sink, landing, writer, Split(SPLIT, write.dataset.name))
    try:
        for start in range(0, len(missing), _AT_ONCE):
            session.take_out(restored(missing[start : start + _AT_ONCE], schema).rows)
    finally:
        session.close()
    with sink.journal.transaction() as books:
        return books.calls.went(write.sync, write.stream, write.run, SPLIT)


def _recognised(sink: RemoteSink, landing: Landing, missing: list[str]) -> None:
    """Raise WriteError where the peer was given rows in this run and lists none of them: it writes keys in another way,
    and all that is there would be deleted."""
    write = landing.write
    with sink.journal.transaction() as books:
        given = books.calls.given(write.dataset.name, write.run)
    if given:
        raise WriteError(
            f"{sink.name} lists {len(missing)} rows of {write.dataset.name!r}, and none of those it has just accepted",
            path=write.stream,
            hint=f"it seems to write keys in another way ({missing[0]}); nothing was deleted",
        )


def _listed(sink: RemoteSink, landing: Landing, writer: Writer) -> tuple[list[str], int]:
    """The keys that the peer lists and that did not come in this run, and how many of those that came it lists."""
    missing: list[str] = []
    found = 0
    write = landing.write
    for table in writer.listing():
        keys = originals(table.select(list(write.key)).cast(_keys(landing)))
        with sink.journal.transaction() as books:
            came = books.calls.came(write.dataset.name, write.run, keys)
        missing += [key for key in keys if key not in came]
        found += len(came)
    return missing, found


def _keys(landing: Landing) -> pa.Schema:
    write = landing.write
    return pa.schema([write.dataset.schema.field(name) for name in write.key])
