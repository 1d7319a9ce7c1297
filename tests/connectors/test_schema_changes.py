"""What becomes of each change of a schema, in every mode and every system: the table of docs/schema-changes.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core import registry
from tongqu.core.data import Checkpoint, Counts, Split, Write, WriteMode
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.core.schema_changes import OUTCOMES, Kind, Outcome, SchemaChanges
from tongqu.testing.conformance.place import Place
from tongqu.testing.pour import pour, put, table
from tongqu.testing.schema_cases import ALL, BIG, CASES, Case, by_id, contents, fields, rows, told

SYSTEMS = ("postgres", "mysql", "sqlite", "duckdb")
RUNS = [(WriteMode.UPSERT, mode) for mode in SchemaChanges] + [
    (WriteMode.REPLACE, SchemaChanges.EVOLVE),
    (WriteMode.REPLACE, SchemaChanges.DISCARD_COLUMN),
]
"""Each mode on a target that is written directly; and a generation that is altered before it is published, or not."""
_NAMES = count(1)
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


@pytest.mark.tabled
@pytest.mark.parametrize(("write", "mode"), RUNS, ids=lambda word: word.value)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_change_has_its_outcome(place: Place, case: Case, write: WriteMode, mode: SchemaChanges) -> None:
    result = done(place, write, mode)[case.name]
    if place.connector.name in HOLDS_ANYWAY.get(case.name, ()):
        case = Case(case.name, Kind.NARROWED, case.before, case.after, case.followed)
    outcome = OUTCOMES[case.kind][mode]
    told(case.name, place.connector.name, mode, write, outcome)
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


# ---- keys

KEYED = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("plant", pa.int64(), nullable=False)])
TWICE = rows(KEYED, (1, 1), (1, 2))
ONCE = rows(KEYED, (1, 1), (2, 1))


@pytest.mark.tabled
@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
def test_a_new_key_makes_a_new_generation(place: Place, mode: SchemaChanges) -> None:
    name = f"t{next(_NAMES)}"
    place.put([ONCE], place.ask(ONCE, WriteMode.REPLACE, name=name))
    asked = place.ask(TWICE, WriteMode.REPLACE, name=name, run="run 2", key=("id", "plant"), schema_changes=mode)
    told("other key", place.connector.name, mode, WriteMode.REPLACE, OUTCOMES[Kind.KEY][mode])
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


@pytest.mark.tabled
@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
def test_an_upsert_by_another_key_is_refused(place: Place, mode: SchemaChanges) -> None:
    name = f"t{next(_NAMES)}"
    place.put([ONCE], place.ask(ONCE, WriteMode.UPSERT, name=name, incremental=True))
    more: dict[str, Any] = {"run": "run 2", "key": ("id", "plant"), "schema_changes": mode, "incremental": True}
    with pytest.raises(SchemaError) as refused:
        place.put([TWICE], place.ask(TWICE, WriteMode.UPSERT, name=name, **more))
    told("other key", place.connector.name, mode, WriteMode.UPSERT, Outcome.REFUSED)
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
