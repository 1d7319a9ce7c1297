"""What sessions into a topic of a queue do alike, wherever the queue lies: rows become what the topic tells of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.core.connector import Session
from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import UNCHANGED
from tongqu.kit.faults import crash_point
from tongqu.kit.queue.shaping import marked, of_changes, shaped

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.core.data import Write
    from tongqu.meaning.settling import Settled


@dataclass(frozen=True)
class Filling:
    """How a stream fills its topic: whether that holds changes, whether nobody sees the records before `finish`
    (`staged`), and whether that empties the topic first."""

    changes: bool
    staged: bool
    empties: bool

    @classmethod
    def of(cls, write: Write) -> Filling:
        """What follows from a stream's write."""
        changes = of_changes(write)
        anew = write.mode is WriteMode.REPLACE
        empties = anew or (changes and not write.incremental and write.deletes is not Deletes.IGNORE)
        return cls(changes, empties or (write.mode is WriteMode.APPEND and not write.resumable), empties)


@dataclass(frozen=True)
class Into:
    """The topic that a stream fills. `schema` is that of its records, without what tells of changes."""

    topic: str
    stream: str
    schema: pa.Schema
    changes: bool
    settled: Settled

    def changes_only(self, what: str) -> None:
        """Raises InvalidPlanError for a topic of messages, of which there is nothing to `what`."""
        if not self.changes:
            raise InvalidPlanError(
                f"the topic {self.topic!r} holds messages, not changes: there is nothing to {what}", path=self.stream,
                hint="write by upsert, which makes a topic of changes",
            )  # fmt: skip


class TopicSession(Session):
    """Writes one split into a topic; its heirs say how records wait for the commit."""

    _into: Into

    @abstractmethod
    def _keep(self, records: pa.Table) -> None:
        """Take records, at least one, in the columns of the topic."""

    def write(self, rows: pa.Table) -> Written:
        """See Session.write. Rows of a topic of changes that do not say what happened to them are `r`."""
        written = Written(bytes=rows.nbytes)
        if self._into.settled.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(self._into.settled.sieving, rows, written)
        self._tell(marked(rows, "r") if self._into.changes else rows)
        written.inserted = rows.num_rows
        crash_point("mid_write")
        return written

    def remove(self, rows: pa.Table) -> int:
        """See Session.remove: the log tells that they are gone, whether it told of them before or not."""
        self._into.changes_only("delete")
        self._tell(marked(rows, "d"))
        return rows.num_rows

    def amend(self, rows: pa.Table) -> int:
        """See Session.amend: the columns that the rows lack are told as unchanged."""
        import pyarrow as pa

        self._into.changes_only("change")
        lacks = [name for name in self._into.schema.names if name not in rows.schema.names]
        unchanged = pa.array([lacks] * rows.num_rows, pa.list_(pa.string()))
        self._tell(marked(rows.append_column(UNCHANGED, unchanged), "u"))
        return rows.num_rows

    def _tell(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self._keep(shaped(rows, self._into.schema, control=self._into.changes))
