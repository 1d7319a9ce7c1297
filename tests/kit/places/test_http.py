"""One file over HTTP: read from any offset, never listed, never written; answers of servers are not trusted."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tongqu.connectors.file.settings import from_url
from tongqu.connectors.file.shelf import Shelf
from tongqu.core.errors import AnswerError, InvalidPlanError, NotFoundError
from tongqu.kit.http.call import Call
from tongqu.kit.places.place import Place
from tongqu.kit.places.web import content
from tongqu.kit.places.xml_reply import parse
from tongqu.testing.drops import drop

CONTENT = b"0123456789" * 100_000


@pytest.fixture
def place(webdav: Any, tmp_path: Path) -> Any:
    """The file `in/x 1.csv` over HTTP, from a server that has ranges and entity tags."""
    found = drop(webdav)
    found.put("in/x 1.csv", CONTENT, tmp_path)
    base = found.base.replace("webdav://", "http://")
    shelf = Shelf(from_url(f"{base}/in/x%201.csv?token=geheim-token#delimiter=;"))
    yield shelf.place
    shelf.close()


def test_it_is_read_from_any_offset(place: Place) -> None:
    (path,) = [place._path]  # type: ignore[attr-defined]  # the one file it has
    assert place.look(path).size == len(CONTENT)
    assert place.look(path).etag
    assert b"".join(place.read(path)) == CONTENT
    assert b"".join(place.read(path, 123_456)) == CONTENT[123_456:]
    assert list(place.stages()) == ["dns", "tcp"]
    assert "geheim-token" not in place.shown(path)


def test_it_is_never_listed_nor_written(place: Place, tmp_path: Path) -> None:
    for ask in (
        lambda: place.entries("in"),
        lambda: place.put("in/y.csv", tmp_path),
        lambda: place.rename("a", "b"),
        lambda: place.delete("a"),
        lambda: place.make_folder("a"),
        lambda: place.delete_folder("a"),
    ):
        with pytest.raises(InvalidPlanError):
            ask()


def test_a_missing_file_is_told_without_its_query(webdav: Any) -> None:
    base = drop(webdav).base.replace("webdav://", "http://")
    shelf = Shelf(from_url(f"{base}/none.csv?token=geheim-token"))
    with pytest.raises(NotFoundError) as caught:
        shelf.find()
    assert "geheim-token" not in f"{caught.value} {caught.value.hint} {caught.value.path}"
    shelf.close()


@pytest.mark.parametrize(
    "data",
    [b"<html><body>no", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>', b"<a>" * 60 + b"</a>" * 60, b""],
)
def test_xml_that_is_none_or_evil_is_refused(data: bytes) -> None:
    with pytest.raises(AnswerError):
        parse(data, "webdav://host/x")


@pytest.mark.parametrize(
    ("status", "told", "body"),
    [
        (206, "bytes 4-9/10", b"456789"),
        (206, "bytes 2-9/10", b"23456789"),
        (200, "", b"0123456789"),
        (206, "", b"456789"),
    ],
)
def test_a_server_may_begin_before_the_offset(status: int, told: str, body: bytes) -> None:
    assert b"".join(content(_answer(status, told, body), Call("GET", "http://x/a"), 4, "a")) == b"456789"


def test_a_server_that_begins_behind_the_offset_is_refused() -> None:
    with pytest.raises(AnswerError, match="from 6 on"):
        list(content(_answer(206, "bytes 6-9/10", b"6789"), Call("GET", "http://x/a"), 4, "a"))


def _answer(status: int, told: str, body: bytes) -> Any:
    """A client to whom everybody answers so."""
    stream = SimpleNamespace(status=status, headers={"content-range": told}, chunks=iter([body]))
    return SimpleNamespace(stream=lambda _: nullcontext(stream))
