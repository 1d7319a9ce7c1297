"""Files are put whole; that they outlast a loss of power is shown in tests/chaos/test_forgetting.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.kit import lasting


def test_a_file_is_put_whole_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    for content in (b"old", b"new"):
        lasting.put(place, content, 0o640)
        assert (place.read_bytes(), place.stat().st_mode & 0o777) == (content, 0o640)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        lasting.put(tmp_path / "folder", b"no file can take the name of a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "folder"]


def test_who_comes_first_makes_it(tmp_path: Path) -> None:
    place = tmp_path / "once.key"
    assert [lasting.put_first(place, content) for content in (b"first", b"second")] == [b"first", b"first"]
    assert place.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [place]


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    for _ in range(2):
        lasting.make_folder(tmp_path / "a" / "b", 0o700)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        lasting.make_folder(tmp_path / "file")


def test_lines_are_added(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        lasting.append(tmp_path / "log", line)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
