"""What a SQL sink does about a schema that has changed since the stream was last written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.core.data import WriteMode
from tongqu.core.errors import SchemaError
from tongqu.core.schema_changes import Kind, Known
from tongqu.kit.accepted import remembered, to_remember
from tongqu.kit.db import Db
from tongqu.kit.ledger import Head, Ledger
from tongqu.kit.sql.landing import Landing, Target
from tongqu.kit.sql.system import SqlSystem
from tongqu.meaning.settling import settle

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TableShape:
    """An existing table as `meaning.settling` looks at it."""

    system: SqlSystem
    db: Db
    target: Target
    anew: bool = False

    @property
    def columns(self) -> Collection[str]:
        """See Shape."""
        return self.target.columns.keys()

    @property
    def key(self) -> tuple[str, ...]:
        """See Shape."""
        return self.target.key

    @property
    def unique(self) -> Collection[tuple[str, ...]]:
        """See Shape."""
        return self.target.unique

    @property
    def required(self) -> Collection[str]:
        """See Shape."""
        return self.target.required

    def field(self, column: str) -> pa.Field[Any]:
        """See Shape."""
        return self.system.field(column, self.target.columns[column])

    def same(self, arriving: pa.Field[Any]) -> bool:
        """See Shape."""
        return self.system.same_type(self.db, self.target.columns[arriving.name], arriving)


def settle_landing(system: SqlSystem, db: Db, ledger: Ledger, landing: Landing, head: Head | None) -> dict[str, Any]:
    """Settle what has changed and note it in the landing; what the stream's head must remember of it.

    Raises SchemaError for what is refused. A new key needs a table that may be exchanged.
    """
    target = landing.target
    known = _known(ledger, landing, head) if target is not None else None
    shape = None if target is None else TableShape(system, db, target)
    settled = settle(landing.write, shape, known)
    if settled.rekeyed and target is not None and target.pinned:
        change = next(change for change in settled.changes if change.kind is Kind.KEY)
        raise SchemaError(
            f"the key of {landing.write.dataset.name!r} was ({change.before}) and is ({change.after}), and the table "
            f"cannot be exchanged: {', '.join(target.pinned)}",
            path=landing.write.stream,
            hint=f"give it the primary key ({change.after}) yourself, or drop what holds it, and run again",
        )
    landing.settled, landing.write = settled, settled.write
    return to_remember(settled.accepted, known)


def _known(ledger: Ledger, landing: Landing, head: Head | None) -> Known | None:
    """The schema accepted last: by this sync, or by another one of the same stream (its key may have changed)."""
    if head is None:
        head = ledger.last(landing.write.stream, landing.write.dataset.name)
    return None if head is None else remembered(head.spec, finished=head.finished)


def follow(system: SqlSystem, db: Db, landing: Landing) -> None:
    """Bring a target that is written directly to what arrives; a replace does that to its new generation."""
    if landing.target is None or landing.write.mode is WriteMode.REPLACE or not landing.alterations:
        return
    system.alter(db, landing.write.dataset.name, landing.alterations)
    landing.target = system.target(db, landing.write.dataset.name)
