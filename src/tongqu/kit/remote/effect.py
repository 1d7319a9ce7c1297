"""What a row does to a system beyond our transactions, and what the system said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class Op(StrEnum):
    """What an effect does."""

    CREATE = "create"
    UPDATE = "update"
    UPSERT = "upsert"
    """Create or update, whichever the peer finds right."""
    DELETE = "delete"


class Result(StrEnum):
    """How a call ended for one effect."""

    OK = "ok"
    FAILED = "failed"
    """The peer refused it: there is no effect, and the same call would be refused again."""
    AGAIN = "again"
    """Certainly no effect, and another attempt may succeed: it was not sent, or the peer was too busy."""
    UNKNOWN = "unknown"
    """It was sent, and nobody knows whether it had its effect."""


class Seen(StrEnum):
    """What reading back shows of one effect's row."""

    SAME = "same"
    """The row is there with our content."""
    OTHER = "other"
    """The row is there with other content."""
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """The peer cannot tell now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call did with one effect. `detail` is the peer's message, without secrets."""

    result: Result
    done: Op | None = None
    """Whether it created or updated, where the peer says so; for a delete: whether there was a row."""
    status: int = 0
    peer: str = ""
    """The peer's own id of the row."""
    detail: str = ""
    field: str = ""
    """The field that the peer complains of."""


OK = Outcome(Result.OK)


@dataclass(frozen=True)
class Effects:
    """Some effects of one kind that go in one call, in order: the rows, and a text per row for each other column."""

    op: Op
    rows: pa.Table
    ids: Sequence[str]
    """Idempotency key of each effect: 32 hex digits, the same whenever the same effect is sent again."""
    keys: Sequence[str]
    """The key columns of each row as a JSON object; empty where rows have no key."""
    peers: Sequence[str]
    """The peer's own id of each row, as far as an earlier call told it."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def id(self) -> str:
        """Idempotency key of the whole call: that of its only effect, or a digest of all of them in order."""
        if len(self.ids) == 1:
            return self.ids[0]
        return hashlib.blake2b("\n".join(self.ids).encode(), digest_size=16).hexdigest()

    def objects(self) -> pa.Array[Any]:
        """Each row as a JSON object, made by columns (`kit.originals`): numbers are JSON numbers, decimals, dates and
        instants are text, binary is hex."""
        from tongqu.kit.originals import original_texts

        return original_texts(self.rows)

    def array(self) -> bytes:
        """All rows as one JSON array."""
        objects: Any = self.objects()
        return ("[" + ", ".join(objects.to_pylist()) + "]").encode()


def all_ok(count: int, outcome: Outcome = OK) -> list[Outcome]:
    """The same outcome for each of `count` effects."""
    return [outcome] * count
