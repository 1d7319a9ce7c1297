"""Looking rows up in another dataset."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import DuplicateError, InvalidPlanError, ReadError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.chain import Chain
from tongqu.engine.graph import Graph
from tongqu.engine.sides import Side
from tongqu.testing.steps import planned, run_in_chain, run_step

Row = dict[str, Any]
MAIN = pa.schema([("k", pa.int64()), ("v", pa.int64())])
SIDE = pa.schema({"id": pa.int32()}).append(pa.field("name", pa.string())).append(pa.field("rank", pa.int64()))
KEY = st.none() | st.integers(0, 5)
ROWS = st.lists(st.fixed_dictionaries({"k": KEY, "v": st.integers(-9, 9)}), max_size=20)
SIDES = st.lists(
    st.fixed_dictionaries({"id": KEY, "name": st.none() | st.text("ab", max_size=2), "rank": st.integers(0, 3)}),
    max_size=10,
)


def oracle(rows: list[Row], side: list[Row], missing: str, many: str) -> tuple[list[Row], list[str]]:
    known: dict[int, list[Row]] = defaultdict(list)
    for row in side:
        if row["id"] is not None:
            known[row["id"]].append(row)
    out: list[Row] = []
    codes: list[str] = []
    for row in rows:
        found = sorted(known.get(row["k"], []), key=lambda r: -r["rank"])
        if not found and missing == "quarantine":
            codes.append("lookup.missing")
        elif len(found) > 1 and many == "quarantine":
            codes.append("lookup.many")
        elif found:
            out += [{**row, "name": r["name"]} for r in (found if many == "all" else found[:1])]
        elif missing == "null":
            out.append({**row, "name": None})
    return out, codes


@pytest.mark.oracle("lookup")
@settings(max_examples=12, deadline=None)
@given(
    ROWS,
    SIDES,
    st.sampled_from(["null", "quarantine", "drop"]),
    st.sampled_from(["first", "all", "quarantine"]),
    st.integers(1, 7),
)
def test_lookup(rows: list[Row], side: list[Row], missing: str, many: str, chunk: int) -> None:
    step: Row = {"in": "b", "on": {"k": "id"}, "fields": ["name"], "missing": missing, "many": many}
    if many != "quarantine":
        step["order"] = "-rank"
    main, other = pa.Table.from_pylist(rows, schema=MAIN), pa.Table.from_pylist(side, schema=SIDE)
    expected, codes = oracle(rows, side, missing, many)
    for ran in (
        run_step({"lookup": step}, main, other, batch_rows=chunk),
        run_in_chain({"lookup": step}, main, other, chunk=chunk),
    ):
        assert ran.rows.to_pylist() == expected and ran.codes == codes
        assert (ran.counts.rows_in, ran.counts.rows_out, ran.counts.quarantined) == (
            len(rows),
            len(expected),
            len(codes),
        )


def table(schema: pa.Schema, *rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


TWICE = table(SIDE, {"id": 1, "name": "one"}, {"id": 1, "name": "uno"}, {"id": 2, "name": "two"})


def test_key_that_comes_twice_stops_the_run_only_if_a_row_meets_it() -> None:
    step = {"lookup": {"in": "b", "on": {"k": "id"}, "fields": ["name"]}}
    assert run_step(step, table(MAIN, {"k": 2, "v": 0}), TWICE).rows["name"].to_pylist() == ["two"]
    with pytest.raises(DuplicateError, match="in 'b' the key id = 1 comes more than once") as caught:
        run_step(step, table(MAIN, {"k": 1, "v": 0}), TWICE)
    assert caught.value.path == "steps[0].lookup"


def test_refused_row_carries_the_key() -> None:
    step = {"lookup": {"in": "b", "on": {"k": "id"}, "fields": ["name"], "missing": "quarantine"}}
    (bad,) = run_step(step, table(MAIN, {"k": 7, "v": 0}), TWICE).bad
    assert (bad.code, bad.field, bad.value, bad.message) == ("lookup.missing", "k", "7", "k '7' is not in 'b'")
    assert bad.original == '{"k": 7, "v": 0}'


def test_meaning_of_looked_up_fields_comes_along() -> None:
    side = pa.schema([pa.field("id", pa.int64())]).append(
        pa.field("w", pa.float64(), metadata={"tongqu.unit": "kg", "tongqu.class": "sensitive"})
    )
    step, output = planned(
        {"lookup": {"in": "m", "on": {"k": "id"}, "fields": {"weight": "w"}}},
        Dataset("a", MAIN, key=("k",)),
        Dataset("m", side),
    )
    assert output.key == ("k",) and output.schema.field("weight").metadata == {
        b"tongqu.unit": b"kg",
        b"tongqu.class": b"sensitive",
    }
    assert step.operator.lineage([Dataset("a", MAIN), Dataset("m", side)])["weight"] == {(1, "w")}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"on": {"kk": "id"}, "fields": "name"}, UnknownNameError, "no column 'kk'"),
        ({"on": {"k": "id"}, "fields": "nam"}, UnknownNameError, "no column 'nam'"),
        ({"on": {"k": "name"}, "fields": "id"}, InvalidPlanError, "different kinds"),
        ({"on": {"k": "id"}, "fields": {"v": "name"}}, InvalidPlanError, "two columns named 'v'"),
        ({"on": {"k": "id"}, "fields": "name", "order": "rank"}, InvalidPlanError, "several matches"),
    ],
)
def test_what_cannot_work_is_refused_when_planning(settings: Row, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned({"lookup": {"in": "b", **settings}}, Dataset("a", MAIN), Dataset("b", SIDE))


def test_rows_that_are_changes_may_look_up_what_is_whole(tmp_path: Path) -> None:
    step = parse_step({"from": "a", "lookup": {"in": "b", "on": {"k": "id"}, "fields": "name"}}, "steps[0]")
    made = plan(["a", "b"], [step], {"out": None})
    known = {"a": Dataset("a", MAIN), "b": Dataset("b", SIDE)}
    Graph(made, known, incremental=["a"], temp_directory=tmp_path)
    with pytest.raises(InvalidPlanError, match="lookup looks up all rows, but 'b' gives only changes") as caught:
        Graph(made, known, incremental=["b"])
    assert caught.value.path == "steps[0].lookup" and "mode: full" in caught.value.hint


def test_what_is_looked_up_is_read_once_and_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    many, width, reads = 300_000, 300, []

    def side() -> Any:
        reads.append(1)
        for start in range(0, many, 50_000):
            ids = pa.array(range(start, start + 50_000), pa.int64())
            names = pa.array([f"{n:0{width}d}" for n in range(start, start + 50_000)])
            yield pa.table({"id": ids, "name": names})

    shape = Dataset("b", pa.schema({"id": pa.int64()}).append(pa.field("name", pa.string())))
    step = parse_step({"lookup": {"in": "b", "on": {"k": "id"}, "fields": "name"}}, "steps[0]")
    rows = pa.table({"k": pa.array(range(0, many, 7), pa.int64())})
    made = Chain(
        Dataset("a", rows.schema), [step], sides={"b": Side(shape, side)}, memory_mb=64, temp_directory=tmp_path
    )
    for chain in (made.fork(), made.fork()):
        result = chain.run(rows)
        assert result.rows.slice(1000, 1).to_pylist() == [{"k": 7000, "name": f"{7000:0{width}d}"}]
        assert result.rows.num_rows == rows.num_rows
        chain.close()
    made.close()
    assert len(reads) == 1 and list(tmp_path.iterdir()) == []


def test_forks_look_up_side_by_side() -> None:
    step = parse_step({"lookup": {"in": "b", "on": {"k": "id"}, "fields": "name"}}, "steps[0]")
    reads: list[int] = []

    def side() -> Any:
        reads.append(1)
        yield table(SIDE, *({"id": n, "name": f"n{n}"} for n in range(1000)))

    rows = pa.table({"k": pa.array(range(0, 1000, 3), pa.int64())})
    made = Chain(Dataset("a", rows.schema), [step], sides={"b": Side(Dataset("b", SIDE), side)})
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda chain: chain.run(rows).rows["name"].to_pylist(), [made.fork() for _ in range(4)]))
    made.close()
    assert found == [[f"n{n}" for n in range(0, 1000, 3)]] * 4 and len(reads) == 1


def test_side_that_fails_is_read_again_when_asked_again() -> None:
    step = parse_step({"lookup": {"in": "b", "on": {"k": "id"}, "fields": "name"}}, "steps[0]")
    errors = [ReadError("the cable was cut")]

    def side() -> Any:
        yield table(SIDE, {"id": 1, "name": "one"})
        if errors:
            raise errors.pop()

    rows = pa.table({"k": pa.array([1], pa.int64())})
    made = Chain(Dataset("a", rows.schema), [step], sides={"b": Side(Dataset("b", SIDE), side)})
    with pytest.raises(ReadError, match="cable"):
        made.run(rows)
    assert made.run(rows).rows["name"].to_pylist() == ["one"]
    made.close()
