"""Where the rows of one stream land in a SQL sink: straight in the target, or in a staged generation first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tongqu.core.data import Counts, Deletes, Write, WriteMode, Written
from tongqu.core.errors import DataError, InvalidPlanError, NotFoundError, RefusedRowsError, SchemaError
from tongqu.kit.ledger import PREFIX
from tongqu.meaning.settling import Alterations, Settled, Sieving

HISTORY = ("_valid_from", "_valid_to", "_current")
"""Columns of a history (SCD2) target: validity instants, null end = current, and a flag."""
DELETED = "_deleted_at"
"""Column of a soft-deleting target: when the source was found without the row; null = it has it."""


@dataclass(frozen=True)
class Target:
    """An existing table: column types in the system's own words, its key, and what would break if it were swapped.

    `unique` are the column sets of unique indexes. `written` are the columns that take values (not generated ones).
    """

    columns: Mapping[str, str]
    key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    written: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    """Columns that are NOT NULL and have no default."""
    always: tuple[str, ...] = ()
    """Identity columns that take our values only when told so."""
    pinned: tuple[str, ...] = ()
    """Why the table must keep its identity (views, foreign keys, triggers): refilled in place, not swapped."""


@dataclass
class Landing:
    """One stream's place in a SQL sink, from `open` to `finish`."""

    write: Write
    fence: int
    target: Target | None
    """As it was when the stream was opened; None if it did not exist."""
    types: dict[str, str] = field(default_factory=dict)
    """Column types of the table that rows are loaded into."""
    run: str = ""
    claims: dict[str, int] = field(default_factory=dict)
    """The fences of splits that this process has taken where others take others; else all are under the stream's."""
    deferred: bool = False
    """Rows that the staged generation lacks are deleted at the end of the run, children of foreign keys first."""
    settled: Settled | None = None
    """What is done about a schema that has changed; None before that is known."""

    @property
    def alterations(self) -> Alterations:
        """How the target, or its next generation, is brought to what arrives."""
        return self.settled.alterations if self.settled else Alterations()

    @property
    def sieving(self) -> Sieving:
        """What is taken out of the arriving rows because the target stays as it is."""
        return self.settled.sieving if self.settled else Sieving()

    @property
    def rekeyed(self) -> bool:
        """Whether the next generation takes the arriving key instead of the target's."""
        return self.settled is not None and self.settled.rekeyed

    @property
    def missing(self) -> list[str]:
        """Arriving columns that an existing target will lack once it is altered."""
        there = (set(self.target.columns) if self.target else set()) | set(self.alterations.renames.values())
        return [name for name in self.write.dataset.columns if name not in there]

    @property
    def staged(self) -> bool:
        """Whether rows wait in a generation of their own until `finish`."""
        w = self.write
        if w.mode is WriteMode.REPLACE:
            return True
        if w.incremental:
            return False
        return w.mode is WriteMode.HISTORY or w.deletes is not Deletes.IGNORE or not w.resumable

    @property
    def merges(self) -> bool:
        """Whether each chunk is merged by key into the target."""
        return not self.staged and self.write.mode in (WriteMode.UPSERT, WriteMode.HISTORY)

    @property
    def stage(self) -> str:
        """Name of the staged generation."""
        return self._name("stage")

    @property
    def chunk(self) -> str:
        """Name of the temporary table a chunk is loaded into before it is merged."""
        return self._name("chunk")

    @property
    def previous(self) -> str:
        """Name under which the generation before the last is kept for undo."""
        return previous_name(self.write.dataset.name)

    @property
    def into(self) -> str:
        """The table that loads go into."""
        return self.stage if self.staged else self.chunk if self.merges else self.write.dataset.name

    def _name(self, kind: str) -> str:
        schema, dot, _ = self.write.dataset.name.rpartition(".")
        digest = hashlib.sha256(f"{self.write.sync}\0{self.write.stream}".encode()).hexdigest()[:16]
        return f"{schema}{dot}{PREFIX}{kind}_{digest}"


def previous_name(dataset: str) -> str:
    """The name of a dataset's kept generation: readable, and within 63 bytes."""
    schema, dot, table = dataset.rpartition(".")
    digest = hashlib.sha256(dataset.encode()).hexdigest()[:8]
    short = table.encode()[:32].decode(errors="ignore")
    return f"{schema}{dot}{PREFIX}previous_{short}_{digest}"


def shape_of(write: Write) -> str:
    """What must not change under an unfinished run: the arriving columns and types, mode and key."""
    dataset = write.dataset
    columns = [f"{name}:{kind}" for name, kind in zip(dataset.columns, dataset.types(), strict=True)]
    return ";".join(columns) + f"|{write.mode.value}|{','.join(write.key)}|{write.recipe}"


def goes_on(landing: Landing, shape: str, spec: Mapping[str, Any]) -> bool:
    """Whether what an unfinished run has written, as its `spec` tells, is of use to this attempt.

    A staged generation must have the same shape. Rows that a full read put straight into the target must come from the
    same steps and columns: an upsert begins anew, and an append, which would double its rows, raises InvalidPlanError.
    Changes go on with the new steps and columns, as they would in the next run.
    """
    write = landing.write
    if landing.staged:
        return spec.get("shape") == shape
    steps = spec.get("recipe", write.recipe) == write.recipe
    if write.incremental or (steps and spec.get("shape", shape) == shape):
        return True
    if write.mode is WriteMode.APPEND:
        what = "source's schema" if steps else "steps"
        back = "take its rows out of the target and run with --restart"
        raise InvalidPlanError(
            f"the {what} changed while a run was unfinished, and a part of its rows is in the target already",
            path=write.stream,
            hint=back if steps else f"put the old steps back to finish it, or {back}",
        )
    return False


def refused_at_the_end(landing: Landing, error: RefusedRowsError) -> DataError:
    """The error for rows that the target refuses only when a whole generation becomes visible."""
    return DataError(
        f"{landing.write.dataset.name!r} refuses the loaded rows: {error.message}",
        path=landing.write.stream,
        hint="the visible table was not touched; mend these rows or the target's constraint, and run again",
    )


def vanished(landing: Landing) -> NotFoundError:
    """The error for a staged generation that somebody dropped."""
    return NotFoundError(
        f"the staged rows of {landing.write.dataset.name!r} ({landing.stage}) were dropped during the run",
        path=landing.write.stream,
        hint="the visible table was not touched; run the same command again",
    )


def corrected(counts: Counts, written: Written) -> Counts:
    """A stream's counts once its staged rows are visible; rows deleted by detection did not come in, so they are
    `generated`."""
    if written == Written():
        return counts
    return replace(
        counts,
        inserted=written.inserted,
        updated=written.updated,
        deleted=written.deleted,
        unchanged=written.unchanged,
        merged=written.merged,
        generated=counts.generated + written.deleted,
    )


def check_columns(landing: Landing) -> None:
    """Refuse arriving columns that a system without letter case would take for another one: of the target, or
    arriving beside it. Raises SchemaError."""
    write = landing.write
    there = {name.lower(): name for name in (landing.target.columns if landing.target else ())}
    for name in write.dataset.columns:
        other = there.setdefault(name.lower(), name)
        if other != name:
            raise SchemaError(
                f"{write.dataset.name!r}: the columns {other!r} and {name!r} differ in letter case only, which this "
                "system does not tell apart",
                path=write.stream,
                field=name,
                hint="rename one of them in a step, or the target's column",
            )
