"""Compares the schema that arrives with what the target is and what it was given last, and settles what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from tongqu.core.data import Dataset, Write, WriteMode
from tongqu.core.errors import SchemaError
from tongqu.core.schema_changes import OUTCOMES, Kind, Known, Outcome, SchemaChange, SchemaChanges

if TYPE_CHECKING:
    import pyarrow as pa


class Shape(Protocol):
    """A target as it is now. Nothing is asked of `field` and `same` unless a type has changed."""

    @property
    def columns(self) -> Collection[str]:
        """Column names."""

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key."""

    @property
    def unique(self) -> Collection[tuple[str, ...]]:
        """Column sets that unique indexes hold."""

    @property
    def required(self) -> Collection[str]:
        """Columns that refuse null and have no default."""

    @property
    def anew(self) -> bool:
        """Whether the content is made anew with whatever arrives (a file), so that `evolve` has nothing to alter."""

    def field(self, column: str) -> pa.Field[Any]:
        """A column as it would be read back."""

    def same(self, arriving: pa.Field[Any]) -> bool:
        """Whether the column of that name has the very type it would get if it were made for the arriving field."""


@dataclass(frozen=True)
class ArrowShape:
    """A target without keys or rules of its own, which is told by its Arrow schema: files."""

    schema: pa.Schema
    anew: bool = False
    """The content is written anew, so it can have whatever arrives."""
    key: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    required: tuple[str, ...] = ()

    @property
    def columns(self) -> Collection[str]:
        """See Shape."""
        return list(self.schema.names)

    def field(self, column: str) -> pa.Field[Any]:
        """See Shape."""
        return self.schema.field(column)

    def same(self, arriving: pa.Field[Any]) -> bool:
        """See Shape."""
        return bool(self.schema.field(arriving.name).type == arriving.type)


@dataclass(frozen=True)
class Alterations:
    """How a target is brought to what arrives, besides new columns: first renamed, then widened, then made optional."""

    renames: Mapping[str, str] = field(default_factory=dict)
    """Old name → new name."""
    types: Mapping[str, pa.Field[Any]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.renames or self.types or self.optional)


@dataclass(frozen=True)
class Sieving:
    """What is looked at in each arriving row because the target stays as it is."""

    left_out: tuple[str, ...] = ()
    """Columns that are dropped, their values counted."""
    empty: tuple[str, ...] = ()
    """Columns that are dropped; rows with a value in one go to quarantine."""
    judged: Mapping[str, pa.Field[Any]] = field(default_factory=dict)
    """Columns whose values must fit a field: they become its type."""
    blank: bool = False
    """What does not fit becomes null; otherwise its row goes to quarantine."""
    required: tuple[str, ...] = ()
    """Columns in which null sends the row to quarantine."""

    def __bool__(self) -> bool:
        return bool(self.left_out or self.empty or self.judged or self.required)

    @property
    def columns(self) -> frozenset[str]:
        """All columns that are looked at: raw bytes cannot carry them."""
        return frozenset((*self.left_out, *self.empty, *self.judged, *self.required))


@dataclass(frozen=True)
class Settled:
    """What is done about the changes of one stream."""

    write: Write
    """Without the columns that are not written."""
    accepted: Known
    """What the next run compares with."""
    changes: tuple[SchemaChange, ...] = ()
    alterations: Alterations = field(default_factory=Alterations)
    sieving: Sieving = field(default_factory=Sieving)
    rekeyed: bool = False
    """The new generation takes the arriving key in place of the target's."""


def arriving(write: Write) -> Known:
    """What a write brings, to be compared with by the next one."""
    dataset = write.dataset
    return Known(
        columns=dict(zip(dataset.columns, dataset.types(), strict=True)),
        key=write.key,
        required=tuple(name for name in dataset.columns if not dataset.nullable(name)),
    )


def settle(write: Write, shape: Shape | None, known: Known | None) -> Settled:
    """What is done about each difference, by the table `OUTCOMES`. Raises SchemaError that lists what is refused.

    Columns go by name, never by place. A type, a key or the right to be null counts as changed only against what was
    accepted last: a target that somebody made narrower on purpose is left as it is and judges each row itself.
    """
    if shape is None:
        return Settled(write, arriving(write))
    return _Settling(write, shape, known).settled()


class _Settling:
    def __init__(self, write: Write, shape: Shape, known: Known | None):
        self.write, self.shape, self.known = write, shape, known
        self.mode = write.schema_changes
        self.names = write.dataset.columns
        self.renames = self._renames()
        self.changes: list[SchemaChange] = []
        self.types: dict[str, pa.Field[Any]] = {}
        self.judged: dict[str, pa.Field[Any]] = {}
        self.hints: list[str] = []

    def settled(self) -> Settled:
        new = self._columns()
        required, optional = self._nulls()
        rekeyed = self._key()
        self._refuse()
        followed = self.mode is SchemaChanges.EVOLVE
        gone = () if followed else tuple(new)
        row = self.mode is SchemaChanges.DISCARD_ROW
        sieving = Sieving(
            left_out=() if row else gone,
            empty=gone if row else (),
            judged=self.judged,
            blank=self.mode is SchemaChanges.DISCARD_COLUMN,
            required=required,
        )
        renames = {old: new for new, old in self.renames.items()} if followed else {}
        return Settled(
            write=replace(self.write, dataset=without(self.write.dataset, gone)) if gone else self.write,
            accepted=self._accepted(gone, required),
            changes=tuple(self.changes),
            alterations=Alterations(renames, self.types, optional),
            sieving=sieving,
            rekeyed=rekeyed,
        )

    def _renames(self) -> dict[str, str]:
        """New name → old name, where the target has only the old one and only the new one arrives."""
        return {
            new: old
            for new, old in self.write.renamed.items()
            if new in self.names
            and old not in self.names
            and old in self.shape.columns
            and new not in self.shape.columns
        }

    def _note(
        self, kind: Kind, column: str, before: str = "", after: str = "", outcome: Outcome | None = None
    ) -> Outcome:
        done = outcome or OUTCOMES[kind][self.mode]
        if self.shape.anew and self.mode is SchemaChanges.EVOLVE and done is not Outcome.UNCHANGED:
            done = Outcome.FOLLOWED
        self.changes.append(SchemaChange(kind, column, done, before, after))
        return done

    # ---- columns and types

    def _columns(self) -> list[str]:
        """Note what is new, renamed, dropped, of another type or place; the names that the target lacks."""
        types = dict(zip(self.names, self.write.dataset.types(), strict=True))
        missing = []
        for name in self.names:
            if name in self.renames:
                self._note(Kind.RENAMED, name, self.renames[name], name)
                if self.mode is SchemaChanges.EVOLVE:
                    self._type(name, self.renames[name], types[name])
                else:
                    missing.append(name)
            elif name not in self.shape.columns:
                kept = self.mode is not SchemaChanges.EVOLVE and name in self.write.key
                self._note(Kind.NEW, name, after=types[name], outcome=Outcome.REFUSED if kept else None)
                missing.append(name)
            else:
                self._type(name, name, types[name])
        if self.known is not None:
            taken = set(self.names) | set(self.renames.values())
            for name, before in self.known.columns.items():
                if name not in taken and name in self.shape.columns:
                    self._note(Kind.DROPPED, name, before)
            order = [name for name in self.known.columns if name in self.names]
            moved = [name for name in self.names if name in self.known.columns]
            if order != moved:
                self._note(Kind.REORDERED, next(a for a, b in zip(order, moved, strict=True) if a != b))
        return missing

    def _type(self, name: str, old: str, after: str) -> None:
        """Note a type that has changed since the last time, and what the target's column does about it."""
        known = self.known
        before = known.columns.get(old) if known is not None else None
        if before is None or before == after:
            return
        from tongqu.meaning.widening import holds, widened

        field, there = self.write.dataset.schema.field(name), self.shape.field(old)
        if self.shape.same(field.with_name(old)):
            self._note(
                Kind.WIDENED if not holds(there, field) else Kind.NARROWED, name, before, after, Outcome.UNCHANGED
            )
            return
        if holds(there, field):
            self._note(Kind.NARROWED, name, before, after)
            return
        wider = widened(there, field)
        done = self._note(Kind.RETYPED if wider is None else Kind.WIDENED, name, before, after)
        if done is Outcome.WIDENED and wider is not None:
            self.types[name] = wider.with_name(name)
        elif done not in (Outcome.REFUSED, Outcome.FOLLOWED):
            self.judged[name] = there.with_name(name)

    # ---- null and key

    def _nulls(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Columns in which rows with null are set aside, and columns that may be null from now on."""
        if self.known is None:
            return (), ()
        judged, optional = [], []
        for name in self.known.required:
            new = next((n for n, old in self.renames.items() if old == name), name)
            if name not in self.shape.required or name in self.shape.key:
                continue
            if new in self.names and self.write.dataset.nullable(new):
                done = self._note(Kind.OPTIONAL, new)
            elif new not in self.names and self.mode is SchemaChanges.EVOLVE:
                done = Outcome.OPTIONAL  # dropped at the source, so it becomes null
            else:
                continue
            if done is Outcome.QUARANTINED:
                judged.append(name)
            if done is Outcome.OPTIONAL:
                optional.append(new)
        for name in self.names:
            if name in self.known.columns and name not in self.known.required and not self.write.dataset.nullable(name):
                self._note(Kind.REQUIRED, name)
        return tuple(judged), tuple(optional)

    def _key(self) -> bool:
        """Whether the new generation gets another key than the target has."""
        known, key = self.known, self.write.key
        if known is None or set(known.key) == set(key) or not known.key:
            return False
        ours = set(self.shape.key) == set(known.key) or self.write.mode is WriteMode.HISTORY
        if not ours or any(set(key) == set(columns) for columns in self.shape.unique):
            return False
        rebuilt = self.write.mode is WriteMode.REPLACE
        if self.write.mode is WriteMode.APPEND and self.mode is not SchemaChanges.FREEZE:
            return False  # the target's key judges each row
        done = self._note(
            Kind.KEY, ", ".join(key), ", ".join(known.key), ", ".join(key), None if rebuilt else Outcome.REFUSED
        )
        if done is Outcome.REFUSED:
            target = self.write.dataset.name
            self.hints.append(
                f"give {target!r} the primary key ({', '.join(key)}) yourself, or load it anew with write mode replace "
                "and schema_changes evolve; to keep the old key, name it: "
                f"{', '.join(known.key)}"
            )
        return done is Outcome.REKEYED

    # ---- what comes of it

    def _refuse(self) -> None:
        refused = [change for change in self.changes if change.outcome is Outcome.REFUSED]
        if not refused:
            return
        told = "; ".join(_told(change) for change in refused)
        hint = "; ".join(dict.fromkeys(self.hints)) or (
            "change the target yourself, leave the columns out or cast them in a step, or choose another mode: "
            "schema_changes evolve, discard_column or discard_row"
        )
        raise SchemaError(
            f"the schema of {self.write.dataset.name!r} has changed ({self.mode.value}): {told}",
            path=self.write.stream,
            hint=hint,
            field=refused[0].column,
        )

    def _accepted(self, gone: Sequence[str], required: Sequence[str]) -> Known:
        """What arrives, but the old word where the target did not follow: the next run must see that change again."""
        came = arriving(self.write)
        columns = {name: kind for name, kind in came.columns.items() if name not in gone}
        for name in self.judged:
            old = self.renames.get(name, name)
            if self.known is not None and old in self.known.columns:
                columns[name] = self.known.columns[old]
        still = tuple(dict.fromkeys((*(n for n in came.required if n in columns), *required)))
        return replace(came, columns=columns, required=still)


def _told(change: SchemaChange) -> str:
    if change.kind is Kind.KEY:
        return f"the key was ({change.before}) and is ({change.after})"
    return str(change)


def without(dataset: Dataset, columns: Collection[str]) -> Dataset:
    """The dataset without some columns; its keys and indexes are the caller's business."""
    import pyarrow as pa

    metadata: dict[Any, Any] | None = dict(dataset.schema.metadata) if dataset.schema.metadata else None
    kept = [field for field in dataset.schema if field.name not in columns]
    return replace(dataset, schema=pa.schema(kept, metadata=metadata))
