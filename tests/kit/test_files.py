"""Paths mean datasets, and files change in one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.core.errors import BusyError, NotFoundError
from tongqu.kit import files


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_a_folder_is_one_dataset_a_file(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "a.csv.gz",
        "b.parquet",
        "b.csv",
        "sub/x.csv",
        "sub/deep/y.csv",
        ".hidden.csv",
        "_tongqu_q.csv",
        "readme.md",
    )
    found = {name: [one.label for one in several] for name, several in files.find(str(tmp_path)).items()}
    assert found == {
        "a": ["a.csv.gz"], "b.csv": ["b.csv"], "b.parquet": ["b.parquet"], "sub": ["deep/y.csv", "x.csv"],
    }  # fmt: skip


def test_partitions_and_parts_make_the_folder_one_dataset(tmp_path: Path) -> None:
    tree(tmp_path / "o", "day=2024-01-01/plant=%E4%B8%8A%E6%B5%B7/part-0.csv", "day=__HIVE_DEFAULT_PARTITION__/b.csv")
    found = files.find(str(tmp_path / "o"))
    assert [dict(one.partitions) for one in found["o"]] == [{"day": "2024-01-01", "plant": "上海"}, {"day": None}]
    tree(tmp_path / "p", "part-0.csv", "part-1.csv")
    assert list(files.find(str(tmp_path / "p"))) == ["p"]


def test_a_glob_is_named_after_its_fixed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "data/2024/a.csv", "data/2025/b.csv", "data/c.txt")
    assert [one.label for one in files.find(f"{tmp_path}/data/**/*.csv")["data"]] == ["2024/a.csv", "2025/b.csv"]
    monkeypatch.chdir(tmp_path / "data")
    assert list(files.find("*/*.csv")) == ["data"]


def test_nothing_there_says_so(tmp_path: Path) -> None:
    for path in ("x.csv", "*.csv", "."):
        with pytest.raises(NotFoundError):
            files.find(str(tmp_path / path))


def test_one_process_holds_a_lock(tmp_path: Path) -> None:
    lock = files.Lock(tmp_path / "l", "orders.csv")
    with pytest.raises(BusyError, match=r"orders\.csv is being written by another process \(pid \d+\)"):
        files.Lock(tmp_path / "l", "orders.csv")
    lock.release()
    lock.release()
    files.Lock(tmp_path / "l", "orders.csv").release()


def test_exchange_swaps_folders(tmp_path: Path) -> None:
    tree(tmp_path, "one/a", "two/b")
    if files.exchange(tmp_path / "one", tmp_path / "two"):
        assert [p.name for p in (tmp_path / "one").iterdir()] == ["b"]
