"""A file elsewhere is read like one here: from any offset, over lost connections, never mixed with another content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tongqu.core.errors import ConnectError, LostPositionError, ReadError
from tongqu.kit.places import file as files
from tongqu.kit.places.file import Files
from tongqu.kit.places.local import LocalPlace
from tongqu.kit.places.place import Entry
from tongqu.kit.places.spool import Spool

CONTENT = bytes(range(256)) * 4096 * 10  # 10 MiB: more than is kept of a beginning


class Breaking(LocalPlace):
    """A place whose connection is lost after so many bytes, so many times."""

    def __init__(self, after: int = 1 << 62, times: int = 1):
        super().__init__()
        self.after, self.times, self.offsets = after, times, list[int]()
        self.other: Entry | None = None

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        self.offsets.append(offset)
        sent = 0
        for block in super().read(path, offset):
            if sent + len(block) > self.after and self.times:
                self.times -= 1
                raise ConnectError("lost")
            sent += len(block)
            yield block

    def look(self, path: str) -> Entry:
        return self.other or super().look(path)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WAIT", 0.001)


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "x.bin").write_bytes(CONTENT)
    return str(tmp_path / "x.bin")


def opened(place: LocalPlace, path: str) -> files.PlaceFile:
    return Files(place, Spool(None, 1 << 30)).file(path)


def test_a_lost_connection_is_gone_on_after(path: str) -> None:
    place = Breaking(after=3 << 20, times=2)
    with opened(place, path).open() as file:
        assert file.read() == CONTENT
    assert place.offsets == [0, 3 << 20, 6 << 20]


def test_a_place_that_stays_away_is_told(path: str) -> None:
    with opened(Breaking(after=0, times=99), path).open() as file, pytest.raises(ConnectError):
        file.read()


def test_a_file_that_is_another_one_by_then_is_not_mixed_in(path: str) -> None:
    place = Breaking(after=1 << 20)
    file = opened(place, path)
    with file.open() as reading:
        reading.read(1000)
        place.other = replace(file.entry, mtime=1)
        with pytest.raises(LostPositionError):
            reading.read()


def test_a_file_that_ends_early_is_told(path: str, tmp_path: Path) -> None:
    place = Breaking()
    place.other = replace(LocalPlace().look(path), size=len(CONTENT) + 1)
    with opened(place, path).open() as reading, pytest.raises(ReadError, match="ended after"):
        reading.read()


def test_the_beginning_is_fetched_once(path: str) -> None:
    place = Breaking()
    file = opened(place, path)
    for _ in range(3):
        with file.open() as reading:
            assert reading.read(1 << 20) == CONTENT[: 1 << 20]
    assert place.offsets == [0]


@pytest.mark.parametrize("offset", [0, 5, (8 << 20) - 1, 8 << 20, (9 << 20) + 7, len(CONTENT)])
def test_any_offset_can_be_sought(path: str, offset: int) -> None:
    file = opened(Breaking(), path)
    with file.open() as reading:
        reading.seek(offset)
        assert reading.read(2 << 20) == CONTENT[offset : offset + (2 << 20)]
        reading.seek(1)
        assert reading.read(10) == CONTENT[1:11]


def test_a_copy_is_made_once_and_goes_at_the_end(path: str, tmp_path: Path) -> None:
    place = Breaking()
    spool = Spool(tmp_path / "home", 1 << 30)
    file = Files(place, spool).file(path)
    copy = file.local()
    assert copy.name == "x.bin"
    assert copy.read_bytes() == CONTENT
    assert file.local() == copy
    assert place.offsets == [0]
    spool.close()
    assert not copy.exists()


def test_copies_have_a_limit(path: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "home", len(CONTENT) - 1)
    with pytest.raises(ReadError, match="spool"):
        Files(Breaking(), spool).file(path).local()
    assert [p for p in (tmp_path / "home").rglob("*") if p.is_file()] == []
    spool.close()


def test_copies_of_the_dead_are_swept(path: str, tmp_path: Path) -> None:
    left = tmp_path / "home" / "spool-999999999-x"
    left.mkdir(parents=True)
    spool = Spool(tmp_path / "home", 1 << 30)
    Files(Breaking(), spool).file(path).local()
    assert not left.exists()
    spool.close()
