"""The keys whose changes wait in quarantine, so that later ones queue behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.dirty import OPEN, SUPERSEDED, Dirty, Settled
from tongqu.core.kernels import pc
from tongqu.engine.following.net import key_texts
from tongqu.kit.originals import restored

if TYPE_CHECKING:
    from tongqu.core.data import Write
    from tongqu.engine.job import Stream

_MOST_BLOCKED = 100_000


class Blocked:
    """The keys of the target whose changes wait in quarantine, so that later ones queue behind them.

    Rows may go in again, or be given up, while the stream runs: so keys are looked at (`look`) before changes of them
    are written.
    """

    def __init__(self, stream: Stream, write: Write):
        self._stream, self._write = stream, write
        self._rows: dict[str, list[str]] = {}
        self._array: Any = None
        self._unread: set[str] = set()
        """Keys of which rows were set aside since they were read."""
        self._fresh: set[str] = set()
        """Keys of which rows were set aside in this transaction."""

    def begin(self) -> None:
        """A new transaction; the one before is durable."""
        self._unread |= self._fresh
        self._fresh = set()

    def look(self, texts: Any | None) -> None:
        """Learn which of these keys (None: of all) still have rows that wait. Between two transactions only."""
        self.begin()
        wanted = list(self._rows) if texts is None else [text for text in texts.to_pylist() if text in self._rows]
        if not self._unread.isdisjoint(wanted):
            self.load()
            return
        ids = tuple(id for text in wanted for id in self._rows[text])
        found = self._stream.sink.dirty(Dirty(ids=ids, states=OPEN, limit=len(ids))) if ids else ()
        left = {str(row["id"]) for row in found}
        for text in wanted:
            self._rows[text] = [id for id in self._rows[text] if id in left]
            if not self._rows[text]:
                del self._rows[text]
        self._array = None

    def load(self) -> None:
        """Read them from the sink; a row whose key cannot be told blocks nothing."""
        self._rows, self._array, self._unread, self._fresh = {}, None, set(), set()
        if not self._write.key or self._stream.recipe:  # what is refused inside a graph of steps is another's row
            return
        which = Dirty(sync=self._write.sync, stream=self._stream.name, states=OPEN, limit=_MOST_BLOCKED)
        fields = [self._write.dataset.schema.field(name) for name in self._write.key]
        source = self._stream.chain.copies() if self._stream.chain is not None else {}
        for row in self._stream.sink.dirty(which):
            for names in {self._write.key, tuple(source.get(name, name) for name in self._write.key)}:
                schema = pa.schema([f.with_name(name) for f, name in zip(fields, names, strict=True)])
                found = keys_of([str(row["original"])], schema)
                if found is not None:
                    (text,) = key_texts(found, list(names)).to_pylist()
                    self._rows.setdefault(text, []).append(str(row["id"]))
                    break

    def __bool__(self) -> bool:
        return bool(self._rows)

    def among(self, texts: Any) -> Any:
        """Which of these keys are blocked, as a boolean Arrow array."""
        if self._array is None:
            self._array = pa.array(list(self._rows), pa.string())
        return pc.is_in(texts, value_set=self._array)

    def behind(self, texts: Any) -> None:
        """More changes of these keys were set aside."""
        self._fresh.update(texts.to_pylist())

    def add(self, keys: pa.Table | None) -> None:
        """Block these keys from here on."""
        if keys is not None and keys.num_rows and self._write.key:
            for text in key_texts(keys, self._write.key).to_pylist():
                self._rows.setdefault(text, [])
                self._fresh.add(text)
            self._array = None

    def release(self, texts: Any | None) -> tuple[list[Settled], list[str]]:
        """Forget keys whose rows are deleted (None: all): what waits of them is overtaken. The keys of which this
        transaction has set rows aside come second: these have no ids before it is durable."""
        wanted = list(self._rows) if texts is None else [text for text in texts.to_pylist() if text in self._rows]
        late = [text for text in wanted if text in self._fresh]
        ids = [id for text in wanted for id in self._rows.pop(text)]
        self._array = None
        told = "the row was deleted meanwhile"
        return [Settled(id, SUPERSEDED, "data.superseded", message=told) for id in ids], late


def keys_of(texts: Sequence[str], schema: pa.Schema) -> pa.Table | None:
    """The key columns of rows as the quarantine keeps them; None where one does not have them."""
    cut = []
    for text in texts:
        row = json.loads(text, parse_float=str, parse_int=int)
        if not all(row.get(name) is not None for name in schema.names):
            return None
        cut.append(json.dumps({name: row[name] for name in schema.names}, ensure_ascii=False))
    found = restored(cut, schema)
    return found.rows if not found.failures else None
