"""What becomes of each change of a schema, in every mode and every system: the table of docs/schema-changes.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core import registry
from tongqu.core.data import Checkpoint, Counts, Meta, Split, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.core.schema_changes import OUTCOMES, Kind, Outcome, SchemaChanges
from tongqu.testing.conformance.place import Place
from tongqu.testing.pour import pour, put, table

SYSTEMS = ("postgres", "mysql", "sqlite", "duckdb")
RUNS = [(WriteMode.UPSERT, mode) for mode in SchemaChanges] + [
    (WriteMode.REPLACE, SchemaChanges.EVOLVE),
    (WriteMode.REPLACE, SchemaChanges.DISCARD_COLUMN),
]
"""Each mode on a target that is written directly; and a generation that is altered before it is published, or not."""
_NAMES = count(1)


def fields(**kinds: Any) -> pa.Schema:
    """`id` as key, and these columns; a type in a tuple is required."""
    made = [pa.field("id", pa.int64(), nullable=False)]
    for name, kind in kinds.items():
        made.append(pa.field(name, kind[0], nullable=False) if isinstance(kind, tuple) else pa.field(name, kind))
    return pa.schema(made)


@dataclass(frozen=True)
class Case:
    """One change: rows before, rows after (ids 1 and 2 come again, 3 and 4 are new), and what is then in the target.

    `fits` are the columns of the rows that are left when the target followed; `kept` when it stayed as it was, by
    whether unfit values are blanked or their rows are set aside.
    """

    name: str
    kind: Kind
    before: pa.Table
    after: pa.Table
    followed: list[dict[str, Any]]
    blanked: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    codes: tuple[str, ...] = ()
    discarded: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)


def rows(schema: pa.Schema, *values: tuple[Any, ...]) -> pa.Table:
    """Rows in the order of the schema."""
    columns = list(zip(*values, strict=True))
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def listed(names: str, *values: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    return [dict(zip(names.split(), row, strict=True)) for row in values]


def native(schema: pa.Schema, name: str, text: str) -> pa.Schema:
    """The schema with a source's own type noted for a column."""
    at = schema.get_field_index(name)
    return schema.set(at, schema.field(name).with_metadata({Meta.NATIVE.value: text}))


BIG = 2**40
SHORT = native(fields(v=pa.string()), "v", "postgres:character varying(4)")
LONG = native(fields(v=pa.string()), "v", "postgres:character varying(12)")

CASES = (
    Case(
        "new column",
        Kind.NEW,
        rows(fields(v=pa.string()), (1, "a"), (2, "b")),
        rows(fields(v=pa.string(), n=pa.int64()), (3, "c", 7), (4, "d", None)),
        listed("id v n", (3, "c", 7), (4, "d", None)),
        blanked=listed("id v", (3, "c"), (4, "d")),
        quarantined=listed("id v", (4, "d")),
        codes=("schema.column",),
        discarded=1,
    ),
    Case(
        "dropped column",
        Kind.DROPPED,
        rows(fields(v=pa.string(), n=pa.int64()), (1, "a", 1), (2, "b", 2)),
        rows(fields(v=pa.string()), (3, "c"), (4, "d")),
        listed("id v n", (3, "c", None), (4, "d", None)),
        blanked=listed("id v n", (3, "c", None), (4, "d", None)),
        quarantined=listed("id v n", (3, "c", None), (4, "d", None)),
    ),
    Case(
        "renamed column, declared",
        Kind.RENAMED,
        rows(fields(v=pa.string()), (1, "a"), (2, "b")),
        rows(fields(w=pa.string()), (3, "c"), (4, None)),
        listed("id w", (3, "c"), (4, None)),
        blanked=listed("id v", (3, None), (4, None)),
        quarantined=listed("id v", (4, None)),
        codes=("schema.column",),
        discarded=1,
        renamed={"w": "v"},
    ),
    Case(
        "renamed column, not declared",
        Kind.NEW,
        rows(fields(v=pa.string()), (1, "a"), (2, "b")),
        rows(fields(w=pa.string()), (3, "c"), (4, None)),
        listed("id v w", (3, None, "c"), (4, None, None)),
        blanked=listed("id v", (3, None), (4, None)),
        quarantined=listed("id v", (4, None)),
        codes=("schema.column",),
        discarded=1,
    ),
    Case(
        "widened integer",
        Kind.WIDENED,
        rows(fields(v=pa.int32()), (1, 1), (2, 2)),
        rows(fields(v=pa.int64()), (3, BIG), (4, 4)),
        listed("id v", (3, BIG), (4, 4)),
        blanked=listed("id v", (3, None), (4, 4)),
        quarantined=listed("id v", (4, 4)),
        codes=("schema.type",),
        discarded=1,
    ),
    Case(
        "widened decimal",
        Kind.WIDENED,
        rows(fields(v=pa.decimal128(5, 2)), (1, Decimal("1.50")), (2, Decimal("2.25"))),
        rows(fields(v=pa.decimal128(12, 4)), (3, Decimal("12345.6789")), (4, Decimal("4.5000"))),
        listed("id v", (3, Decimal("12345.6789")), (4, Decimal("4.5000"))),
        blanked=listed("id v", (3, None), (4, Decimal("4.50"))),
        quarantined=listed("id v", (4, Decimal("4.50"))),
        codes=("schema.type",),
        discarded=1,
    ),
    Case(
        "narrowed integer",
        Kind.NARROWED,
        rows(fields(v=pa.int64()), (1, BIG), (2, 2)),
        rows(fields(v=pa.int32()), (3, 3), (4, 4)),
        listed("id v", (3, 3), (4, 4)),
    ),
    Case(
        "number became text",
        Kind.RETYPED,
        rows(fields(v=pa.int32()), (1, 1), (2, 2)),
        rows(fields(v=pa.string()), (3, "A12"), (4, "4")),
        listed("id v", (4, 4)),
        blanked=listed("id v", (3, None), (4, 4)),
        quarantined=listed("id v", (4, 4)),
        codes=("schema.type",),
        discarded=1,
    ),
    Case(
        "may be null now",
        Kind.OPTIONAL,
        rows(fields(v=(pa.string(),)), (1, "a"), (2, "b")),
        rows(fields(v=pa.string()), (3, None), (4, "d")),
        listed("id v", (3, None), (4, "d")),
        blanked=listed("id v", (4, "d")),
        quarantined=listed("id v", (4, "d")),
        codes=("schema.null",),
    ),
    Case(
        "is required now",
        Kind.REQUIRED,
        rows(fields(v=pa.string()), (1, "a"), (2, None)),
        rows(fields(v=(pa.string(),)), (3, "c"), (4, "d")),
        listed("id v", (3, "c"), (4, "d")),
    ),
    Case(
        "other order of columns",
        Kind.REORDERED,
        rows(fields(v=pa.string(), n=pa.string()), (1, "a", "x"), (2, "b", "y")),
        rows(fields(n=pa.string(), v=pa.string()), (3, "z", "c"), (4, "q", "d")),
        listed("id v n", (3, "c", "z"), (4, "d", "q")),
    ),
)
LENGTH = Case(
    "longer text",
    Kind.WIDENED,
    rows(SHORT, (1, "a"), (2, "b")),
    rows(LONG, (3, "long text"), (4, "d")),
    listed("id v", (3, "long text"), (4, "d")),
    blanked=listed("id v", (3, None), (4, "d")),
    quarantined=listed("id v", (4, "d")),
    codes=("schema.type",),
    discarded=1,
)
ALL = [*CASES, LENGTH]
HOLDS_ANYWAY = {"longer text": ("sqlite", "duckdb"), "widened integer": ("sqlite",)}
"""Systems whose one type of the family takes every value: nothing has to be widened."""


@pytest.fixture(scope="module", params=SYSTEMS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One database a system; each test has a table of its own."""
    system = str(request.param)
    if system in ("postgres", "mysql"):
        service = request.getfixturevalue({"postgres": "postgres", "mysql": "mariadb"}[system])
        service.mend()
        yield Place(registry.connector(system), service.database())
        return
    yield Place(registry.connector(system), f"{system}:{tmp_path_factory.mktemp(system)}/place.db")


@dataclass
class Done:
    """What a case came to: rows by id before and after, counts, the codes of refused rows, or the refusal."""

    before: dict[int, dict[str, Any]] = field(default_factory=dict)
    found: dict[int, dict[str, Any]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    codes: list[str] = field(default_factory=list)
    refused: SchemaError | None = None


_DONE: dict[tuple[str, WriteMode, SchemaChanges], dict[str, Done]] = {}


def done(place: Place, write: WriteMode, mode: SchemaChanges) -> dict[str, Done]:
    """All cases in one system and mode, each in a table of its own, with one sink for the rows before and one after."""
    at = (place.connector.name, write, mode)
    if at in _DONE:
        return _DONE[at]
    tables = {case.name: f"t{next(_NAMES)}" for case in ALL}
    if place.connector.name == "duckdb":  # whose catalogue is slow with many tables
        place = Place(place.connector, place.url.replace("place.db", f"{write.value}-{mode.value}.db"))
    found = {case.name: Done() for case in ALL}
    more: dict[str, Any] = {"incremental": write is WriteMode.UPSERT}
    with place.sink() as sink:
        for case in ALL:
            pour(sink, place.ask(case.before, write, name=tables[case.name], **more), [case.before])
    with place.source() as source:
        for case in ALL:
            found[case.name].before = by_id(table(source, tables[case.name]))
    with place.sink() as sink:
        for case in ALL:
            told: dict[str, Any] = {"run": "run 2", "schema_changes": mode, "renamed": case.renamed}
            asked = place.ask(case.after, write, name=tables[case.name], **told, **more)
            try:
                found[case.name].counts = pour(sink, asked, [case.after])
            except SchemaError as error:
                found[case.name].refused = error
        for case in ALL:
            found[case.name].codes = [row["code"] for row in sink.quarantined(stream=tables[case.name])]
    with place.source() as source:
        for case in ALL:
            found[case.name].found = by_id(table(source, tables[case.name]))
    return _DONE.setdefault(at, found)


@pytest.mark.parametrize(("write", "mode"), RUNS, ids=lambda word: word.value)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_change_has_its_outcome(place: Place, case: Case, write: WriteMode, mode: SchemaChanges) -> None:
    result = done(place, write, mode)[case.name]
    if place.connector.name in HOLDS_ANYWAY.get(case.name, ()):
        case = Case(case.name, Kind.NARROWED, case.before, case.after, case.followed)
    outcome = OUTCOMES[case.kind][mode]
    if outcome is Outcome.REFUSED:
        assert result.refused is not None
        assert result.refused.hint
        assert result.found == result.before
        return
    assert result.refused is None
    expected = case.followed
    if mode in (SchemaChanges.DISCARD_COLUMN, SchemaChanges.DISCARD_ROW) and (case.blanked or case.quarantined):
        expected = case.blanked if mode is SchemaChanges.DISCARD_COLUMN else case.quarantined
    found = result.found
    assert {id: row for id, row in found.items() if id > 2} == {row["id"]: row for row in expected}
    blanked = outcome in (Outcome.BLANKED, Outcome.LEFT_OUT)
    aside = outcome is Outcome.QUARANTINED
    assert result.counts.discarded == (case.discarded if blanked else 0)
    assert result.codes == list(case.codes if aside else ())
    assert result.counts.quarantined == (len(case.codes) if aside else 0)
    if write is WriteMode.UPSERT:  # the rows of before are still there, under the names of now
        old = {row["id"]: row for row in case.before.to_pylist()}
        names = {new: was for new, was in case.renamed.items() if new in found[1]}
        for id in (1, 2):
            assert found[id] == {name: old[id].get(names.get(name, name)) for name in found[id]}


def contents(place: Place, name: str) -> dict[int, dict[str, Any]]:
    """The rows by id."""
    return by_id(place.table(name))


def by_id(found: pa.Table) -> dict[int, dict[str, Any]]:
    """Rows by their id."""
    return {row["id"]: row for row in found.to_pylist()}


# ---- keys

KEYED = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("plant", pa.int64(), nullable=False)])
TWICE = rows(KEYED, (1, 1), (1, 2))
ONCE = rows(KEYED, (1, 1), (2, 1))


@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
def test_a_new_key_makes_a_new_generation(place: Place, mode: SchemaChanges) -> None:
    name = f"t{next(_NAMES)}"
    place.put([ONCE], place.ask(ONCE, WriteMode.REPLACE, name=name))
    asked = place.ask(TWICE, WriteMode.REPLACE, name=name, run="run 2", key=("id", "plant"), schema_changes=mode)
    if mode is not SchemaChanges.EVOLVE:
        with pytest.raises(SchemaError, match=r"the key was \(id\) and is \(id, plant\)"):
            place.put([TWICE], asked)
        assert place.rows(name, ("id", "plant")) == [(1, 1), (2, 1)]
        return
    place.put([TWICE], asked)
    assert place.rows(name, ("id", "plant")) == [(1, 1), (1, 2)]
    with place.source() as source:
        assert place.dataset(source, name).key == ("id", "plant")
    place.put([TWICE], replace(asked, run="run 3"))
    assert place.rows(name, ("id", "plant")) == [(1, 1), (1, 2)]


@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
def test_an_upsert_by_another_key_is_refused(place: Place, mode: SchemaChanges) -> None:
    name = f"t{next(_NAMES)}"
    place.put([ONCE], place.ask(ONCE, WriteMode.UPSERT, name=name, incremental=True))
    more: dict[str, Any] = {"run": "run 2", "key": ("id", "plant"), "schema_changes": mode, "incremental": True}
    with pytest.raises(SchemaError) as refused:
        place.put([TWICE], place.ask(TWICE, WriteMode.UPSERT, name=name, **more))
    assert "primary key (id, plant)" in refused.value.hint
    assert place.rows(name, ("id", "plant")) == [(1, 1), (2, 1)]


def test_a_history_by_another_key_is_refused(place: Place) -> None:
    name = f"t{next(_NAMES)}"
    place.put([ONCE], place.ask(ONCE, WriteMode.HISTORY, name=name, incremental=True))
    asked = place.ask(TWICE, WriteMode.HISTORY, name=name, run="run 2", key=("id", "plant"), incremental=True)
    with pytest.raises(SchemaError, match="the key was"):
        place.put([TWICE], asked)


def test_a_key_that_changes_with_the_sync_is_seen(place: Place) -> None:
    name = f"t{next(_NAMES)}"
    place.put([ONCE], place.ask(ONCE, WriteMode.REPLACE, name=name))
    asked = place.ask(TWICE, WriteMode.REPLACE, name=name, run="run 2", key=("id", "plant"))
    place.put([TWICE], replace(asked, sync="another identity, since the key is part of it"))
    assert place.rows(name, ("id", "plant")) == [(1, 1), (1, 2)]


# ---- runs after runs


@pytest.mark.parametrize("mode", [SchemaChanges.DISCARD_COLUMN, SchemaChanges.DISCARD_ROW], ids=lambda mode: mode.value)
def test_a_target_that_stays_as_it_is_stays_so_run_after_run(place: Place, mode: SchemaChanges) -> None:
    name, case = f"t{next(_NAMES)}", next(case for case in CASES if case.name == "number became text")
    more: dict[str, Any] = {"name": name, "incremental": True}
    place.put([case.before], place.ask(case.before, WriteMode.UPSERT, **more))
    for run in ("run 2", "run 3"):
        asked = place.ask(case.after, WriteMode.UPSERT, run=run, schema_changes=mode, **more)
        counts = place.put([case.after], asked)
        assert (counts.discarded, counts.quarantined) == ((1, 0) if mode is SchemaChanges.DISCARD_COLUMN else (0, 1))
    counts = place.put([case.before], place.ask(case.before, WriteMode.UPSERT, run="run 4", **more))
    assert (counts.unchanged, counts.quarantined) == (2, 0)


def test_a_target_that_somebody_made_narrower_is_left_so(place: Place) -> None:
    name = f"t{next(_NAMES)}"
    with place.sink() as sink:
        db: Any = sink.connect()  # type: ignore[attr-defined]  # every SQL sink has it
        db.begin()
        db.run(f"CREATE TABLE {name} (id BIGINT NOT NULL PRIMARY KEY, v SMALLINT)")
        db.commit()
        db.close()
    arriving = rows(fields(v=pa.int64()), (1, 1), (2, BIG))
    counts = place.put([arriving], place.ask(arriving, WriteMode.UPSERT, name=name, incremental=True))
    kept = 2 if place.connector.name == "sqlite" else 1  # SQLite's SMALLINT holds 64 bits
    assert (counts.inserted, counts.quarantined) == (kept, 2 - kept)


def unfinished(place: Place, chunk: pa.Table, write: Write) -> None:
    """A run that commits one chunk and dies."""
    with place.sink() as sink:
        write = replace(write, run=sink.start(write.sync, write.run, False).run)
        sink.open(write)
        split = Split("0", write.dataset.name)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            counts = Counts()
            put(session, chunk, counts)
            session.commit(Checkpoint(split, {"n": 1}, counts))


@pytest.mark.parametrize("write", [WriteMode.APPEND, WriteMode.UPSERT, WriteMode.REPLACE], ids=lambda word: word.value)
def test_a_source_altered_between_attempts(place: Place, write: WriteMode) -> None:
    name, case = f"t{next(_NAMES)}", next(case for case in CASES if case.name == "new column")
    unfinished(place, case.before, place.ask(case.before, write, name=name))
    whole = pa.concat_tables([case.after.slice(0, 1), case.after])  # the chunk that was committed, and the rest
    chunks = [whole.slice(0, 1), whole.slice(1)]
    asked = place.ask(case.after, write, name=name)
    if write is WriteMode.APPEND:
        with pytest.raises(InvalidPlanError, match="source's schema changed while a run was unfinished"):
            place.put(chunks, asked)
        return
    counts = place.put([case.after], asked)
    assert counts.read == 2, "the run begins this stream anew"
    assert contents(place, name)[3] == {"id": 3, "v": "c", "n": 7}


def test_an_index_follows_its_renamed_column(place: Place) -> None:
    name = f"t{next(_NAMES)}"
    before, after = rows(fields(v=pa.int64()), (1, 1)), rows(fields(w=pa.int64()), (1, 2))
    with place.sink() as sink:
        pour(sink, place.ask(before, WriteMode.REPLACE, name=name), [before])
        db: Any = sink.connect()  # type: ignore[attr-defined]  # every SQL sink has it
        db.begin()
        db.run(f"CREATE INDEX {name}_v ON {name} (v)")
        db.commit()
        db.close()
    for run in ("run 2", "run 3"):
        place.put([after], place.ask(after, WriteMode.REPLACE, name=name, run=run, renamed={"w": "v"}))
        with place.source() as source:
            assert [index.columns for index in place.dataset(source, name).indexes] == [("w",)]


def test_a_table_that_others_refer_to_follows_too(place: Place) -> None:
    name, case = f"t{next(_NAMES)}", next(case for case in CASES if case.name == "new column")
    place.put([case.before], place.ask(case.before, WriteMode.REPLACE, name=name))
    with place.sink() as sink:
        db: Any = sink.connect()  # type: ignore[attr-defined]  # every SQL sink has it
        db.begin()
        db.run(f"CREATE TABLE {name}_child (id BIGINT PRIMARY KEY, parent BIGINT REFERENCES {name} (id))")
        db.commit()
        db.close()
    place.put([case.after], place.ask(case.after, WriteMode.REPLACE, name=name, run="run 2"))
    assert contents(place, name) == {3: {"id": 3, "v": "c", "n": 7}, 4: {"id": 4, "v": "d", "n": None}}


# ---- files

FILES = ("parquet", "jsonl", "csv")
FILE_OUTCOMES = {Kind.OPTIONAL: Outcome.UNCHANGED}


@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_replaced_file_follows_or_stays(tmp_path: Path, case: Case, form: str, mode: SchemaChanges) -> None:
    place = Place(registry.connector("file"), f"file:{tmp_path}/?format={form}")
    place.put([case.before], place.ask(case.before, WriteMode.REPLACE, name="t"))
    asked = place.ask(case.after, WriteMode.REPLACE, name="t", run="run 2", schema_changes=mode, renamed=case.renamed)
    outcome = FILE_OUTCOMES.get(case.kind) or OUTCOMES[case.kind][mode]
    if outcome is Outcome.REFUSED:
        with pytest.raises(SchemaError):
            place.put([case.after], asked)
        assert sorted(contents(place, "t")) == [1, 2]
        return
    counts = place.put([case.after], asked)
    found = contents(place, "t")
    stays = mode in (SchemaChanges.DISCARD_COLUMN, SchemaChanges.DISCARD_ROW)
    if mode is SchemaChanges.EVOLVE:
        assert {id: plain(row) for id, row in found.items()} == {r["id"]: plain(r) for r in case.after.to_pylist()}
    elif stays and case.kind in (Kind.NEW, Kind.RENAMED, Kind.WIDENED, Kind.RETYPED):
        expected = case.blanked if mode is SchemaChanges.DISCARD_COLUMN else case.quarantined
        assert {id: plain(row) for id, row in found.items()} == {row["id"]: plain(row) for row in expected}
        assert counts.discarded == (case.discarded if mode is SchemaChanges.DISCARD_COLUMN else 0)
        assert counts.quarantined == (len(case.codes) if mode is SchemaChanges.DISCARD_ROW else 0)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Values as a text file holds them, without nulls: which of `1` and `1.00` a type is was the type's business."""
    return {
        name: str(Decimal(str(value)).normalize()) if isinstance(value, int | float | Decimal) else str(value)
        for name, value in row.items()
        if value is not None
    }


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_an_appended_file_grows(tmp_path: Path, form: str) -> None:
    place = Place(registry.connector("file"), f"file:{tmp_path}/?format={form}")
    case = next(case for case in CASES if case.name == "new column")
    for number, part in enumerate((case.before, case.after)):
        place.put([part], place.ask(part, WriteMode.APPEND, name="t", run=f"run {number}", key=()))
    rows = {row["id"]: row for row in place.table("t").to_pylist()}
    assert [rows[id].get("n") for id in (1, 2, 3, 4)] == [None, None, 7, None]
    assert [rows[id]["v"] for id in (1, 2, 3, 4)] == ["a", "b", "c", "d"]


def test_an_appended_csv_keeps_its_header(tmp_path: Path) -> None:
    place = Place(registry.connector("file"), f"file:{tmp_path}/?format=csv")
    new, moved = (
        next(case for case in CASES if case.name == name) for name in ("new column", "other order of columns")
    )
    place.put([new.before], place.ask(new.before, WriteMode.APPEND, name="t", key=()))
    with pytest.raises(SchemaError, match="keeps its header"):
        place.put([new.after], place.ask(new.after, WriteMode.APPEND, name="t", run="run 2", key=()))
    place.put([moved.before], place.ask(moved.before, WriteMode.APPEND, name="m", key=()))
    place.put([moved.after], place.ask(moved.after, WriteMode.APPEND, name="m", run="run 2", key=()))
    assert contents(place, "m")[3] == {"id": 3, "v": "c", "n": "z"}
