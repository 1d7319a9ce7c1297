"""Groups, anomalies, and scores of saved models that are pinned by their digest."""

from __future__ import annotations

import hashlib
import pickle
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, InvalidSettingsError, SchemaError, UnknownNameError
from tongqu.core.operator import parse_step
from tongqu.core.plan import plan
from tongqu.engine.graph import Graph
from tongqu.testing.single_step import Row, run, step

FIELDS: list[pa.Field[Any]] = [pa.field("x", pa.float64()), pa.field("n", pa.int64()), pa.field("t", pa.string())]
SCHEMA = pa.schema(FIELDS)
ROWS = st.lists(
    st.fixed_dictionaries({"x": st.none() | st.sampled_from([0.0, 1.0, 2.0, 50.0, float("nan")]),
                           "n": st.none() | st.integers(0, 5)}), max_size=15,
)  # fmt: skip


def robust(values: list[float]) -> list[float]:
    middle = statistics.median(values)
    spread = statistics.median([abs(v - middle) for v in values])
    return [0.6745 * abs(v - middle) / spread if spread else 0.0 for v in values]


@pytest.mark.oracle("model")
@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_robust_z(rows: list[Row]) -> None:
    made = {"do": "anomaly", "method": "robust_z", "columns": ["x", "n"], "into": "odd", "score_into": "far"}
    found = run({"model": made}, rows, SCHEMA)
    whole = [row for row in rows if row["x"] is not None and row["x"] == row["x"] and row["n"] is not None]
    scores = (
        [max(pair) for pair in zip(*(robust([r[c] for r in whole]) for c in ("x", "n")), strict=True)] if whole else []
    )
    left = iter(scores)
    expected = [next(left) if row in whole else None for row in rows]
    assert found.column("far") == [None if s is None else pytest.approx(s) for s in expected]
    assert found.column("odd") == [None if s is None else s > 3.5 for s in expected]


def blobs() -> list[Row]:
    rng = np.random.default_rng(7)
    return [
        {"x": float(rng.normal(centre, 0.1)), "n": centre * 10, "t": None} for centre in (3, 1, 2) for _ in range(20)
    ]


def test_clusters_are_numbered_by_their_centres() -> None:
    rows = blobs()
    made = {"model": {"do": "cluster", "columns": ["x", "n"], "clusters": 3, "into": "group"}}
    assert run(made, rows, SCHEMA).column("group") == [2] * 20 + [0] * 20 + [1] * 20
    again = run(made, [*rows[30:], {"x": None, "n": 1}, *rows[:30]], SCHEMA)
    assert again.column("group") == [0] * 10 + [1] * 20 + [None] + [2] * 20 + [0] * 10
    assert run(made, rows[:1], SCHEMA).column("group") == [0] and run(made, [], SCHEMA).rows == []


def test_isolation_forest_finds_the_stranger() -> None:
    rows = [*blobs(), {"x": 90.0, "n": -500}]
    made = {"do": "anomaly", "columns": ["x", "n"], "into": "odd", "score_into": "far", "share": 0.02, "seed": 3}
    found = run({"model": made}, rows, SCHEMA)
    assert found.rows[-1]["odd"] is True and sum(found.column("odd")) <= 2
    assert found.rows[-1]["far"] == max(found.column("far"))
    assert run({"model": made}, rows, SCHEMA).rows == found.rows


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str]:
    """A regression y = 2x + n, saved by skops, with its digest."""
    import skops.io  # type: ignore[import-untyped]  # it ships no types
    from sklearn.linear_model import LinearRegression  # type: ignore[import-untyped]  # likewise

    x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0], [3.0, 1.0]])
    skops.io.dump(LinearRegression().fit(x, x @ np.array([2.0, 1.0])), tmp_path / "line.skops")
    return tmp_path, hashlib.sha256((tmp_path / "line.skops").read_bytes()).hexdigest()


def test_score_with_a_saved_model(saved: tuple[Path, str]) -> None:
    folder, digest = saved
    entry = {"do": "score", "file": "line.skops", "sha256": digest, "columns": ["x", "n"], "into": "y"}
    made = step({"model": entry}, str(folder))
    assert made.operator.chunk_safe
    found = run(made, [{"x": 1.0, "n": 3}, {"x": None, "n": 1}, {"x": 0.5, "n": 0}], SCHEMA)
    assert found.column("y") == [pytest.approx(5), None, pytest.approx(1)]
    with pytest.raises(SchemaError, match="trained on 2 columns, not 1"):
        run(step({"model": {**entry, "columns": ["x"]}}, str(folder)), [{"x": 1.0}], SCHEMA)


def test_another_file_than_the_pinned_one_is_refused(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    entry = {"do": "score", "file": "line.skops", "sha256": "0" * 64, "columns": ["x", "n"], "into": "y"}
    with pytest.raises(InvalidPlanError, match="not the one that was pinned") as caught:
        step({"model": entry}, str(folder))
    assert caught.value.path == "steps[0].model.file"


class Trap:
    """What a pickle can do when it is opened."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("trapped"),))


def test_a_pickle_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Trap()))
    digest = hashlib.sha256((tmp_path / "m.pkl").read_bytes()).hexdigest()
    entry = {"do": "score", "file": "m.pkl", "sha256": digest, "columns": ["x"], "into": "y"}
    with pytest.raises(InvalidPlanError, match="no model saved by skops"):
        run(step({"model": entry}, str(tmp_path)), [{"x": 1.0}], SCHEMA)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"do": "score", "columns": ["x"]}, InvalidSettingsError, "needs `file` and `sha256`"),
        ({"do": "cluster", "columns": ["x"], "score_into": "s"}, InvalidSettingsError, "goes with `do: anomaly`"),
        ({"do": "cluster", "columns": ["t"]}, InvalidPlanError, "not a number"),
        ({"do": "cluster", "columns": ["z"]}, UnknownNameError, "no column 'z'"),
        ({"do": "score", "columns": ["x"], "file": "no", "sha256": "0" * 64}, ConfigError, "there is no model 'no'"),
    ],
)
def test_refused_when_planning(entry: Row, error: type[ConfigError], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        parse_step({"model": {"into": "y", **entry}}, "steps[0]", folder=str(tmp_path)).operator.output(
            [Dataset("t", SCHEMA)]
        )


def test_learning_from_changes_only_is_refused() -> None:
    made = parse_step({"model": {"do": "cluster", "columns": ["x"], "into": "g"}}, "steps[0]")
    with pytest.raises(InvalidPlanError, match="gives only changes"):
        Graph(plan(["s"], [made], {"out": None}), {"s": Dataset("s", SCHEMA)}, incremental=["s"])
