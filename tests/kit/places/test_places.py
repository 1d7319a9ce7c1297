"""Every kind of place keeps the promises of the port, on a real server where one can be had."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf
from tongqu.core.errors import (
    AnswerError,
    AuthError,
    CertificateError,
    ConnectError,
    InvalidSettingsError,
    NotFoundError,
    ReadError,
    TongquError,
)
from tongqu.kit.places.place import Place
from tongqu.kit.places.spool import Spool
from tongqu.kit.places.xml_reply import parse
from tongqu.testing.drops import Drop, drop

KINDS = {
    "sftp": "sshd", "ftp": "vsftpd", "ftps": "vsftpd", "smb": "samba", "webdav": "webdav", "s3": "s3",
}  # fmt: skip
CONTENT = bytes(range(256)) * 10_000  # more than two blocks


@pytest.fixture(params=KINDS)
def there(request: pytest.FixtureRequest) -> Drop:
    """An empty folder on a server of each kind."""
    service = request.getfixturevalue(KINDS[request.param])
    return drop(service, request.param if request.param in ("ftp", "ftps") else "")


@pytest.fixture
def opened(there: Drop) -> Iterator[tuple[Place, str]]:
    place, folder = there.place()
    place.make_folder(folder)
    yield place, folder
    place.close()


def test_files_come_and_go(opened: tuple[Place, str], tmp_path: Path) -> None:
    place, folder = opened
    source = tmp_path / "x"
    source.write_bytes(CONTENT)
    assert list(place.stages())
    put = place.put(f"{folder}/批 1.csv", source)
    assert put.size == len(CONTENT)
    assert place.look(f"{folder}/批 1.csv") == put == next(e for e in place.entries(folder) if not e.folder)
    assert b"".join(place.read(put.path)) == CONTENT
    assert b"".join(place.read(put.path, 2_000_000)) == CONTENT[2_000_000:]

    place.make_folder(f"{folder}/a/b")
    place.copy(put.path, f"{folder}/a/b/copy.csv")
    place.rename(put.path, f"{folder}/a/new.csv")
    assert sorted(one.path for one in place.walk(folder)) == [f"{folder}/a/b/copy.csv", f"{folder}/a/new.csv"]
    assert place.there(put.path) is None
    source.write_bytes(b"other")
    place.put(f"{folder}/a/new.csv", source)
    place.rename(f"{folder}/a/new.csv", f"{folder}/a/b/copy.csv")  # over what has that name
    assert b"".join(place.read(f"{folder}/a/b/copy.csv")) == b"other"
    place.delete(f"{folder}/a/none.csv")
    place.delete_tree(f"{folder}/a")
    assert place.there(f"{folder}/a") is None
    assert list(place.walk(folder)) == []


def test_what_is_missing_is_said_to_be(opened: tuple[Place, str]) -> None:
    place, folder = opened
    for ask in (
        lambda: place.look(f"{folder}/none.csv"),
        lambda: place.entries(f"{folder}/none"),
        lambda: list(place.read(f"{folder}/none.csv")),
    ):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert caught.value.hint


def test_an_unfinished_read_disturbs_nobody(opened: tuple[Place, str], tmp_path: Path) -> None:
    place, folder = opened
    source = tmp_path / "x"
    source.write_bytes(CONTENT)
    place.put(f"{folder}/x.bin", source)
    reading = place.read(f"{folder}/x.bin")
    assert next(reading)
    reading.close()  # type: ignore[attr-defined]  # a generator
    assert place.look(f"{folder}/x.bin").size == len(CONTENT)


@pytest.mark.parametrize("kind", ["sftp", "ftps", "smb"])
def test_a_server_that_comes_back_is_asked_again(kind: str, request: pytest.FixtureRequest) -> None:
    service = request.getfixturevalue(KINDS[kind])
    place, folder = drop(service, kind if kind == "ftps" else "").place()
    try:
        place.make_folder(folder)
        service.kill9()
        with pytest.raises(ConnectError):
            place.entries(folder)
        service.restart()
        assert place.entries(folder) == []
    finally:
        service.mend()
        place.close()


@pytest.mark.parametrize("kind", ["ftp", "ftps", "smb", "webdav"])
def test_a_wrong_password_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    found = drop(request.getfixturevalue(KINDS[kind]), kind if kind in ("ftp", "ftps") else "")
    error = _refusal(found, password="wrong-secret")
    assert isinstance(error, AuthError)
    assert "wrong-secret" not in f"{error} {error.hint} {error.path}"


def test_an_ssh_server_is_never_trusted_because_it_was_seen_first(sshd: Any, tmp_path: Path) -> None:
    found = drop(sshd)
    empty = tmp_path / "known_hosts"
    empty.write_text("")
    for wrong in ({"host_key": "SHA256:" + "A" * 43}, {"host_key": "", "known_hosts": str(empty)}):
        error = _refusal(found, **wrong)
        assert isinstance(error, CertificateError)
        assert sshd.fingerprint in error.message, "the key that was seen is shown, to be compared"
    known = {"host_key": "", "known_hosts": str(sshd.known_hosts)}
    place, _ = Drop(found.base, found.query | known).place()
    assert f"host key: {sshd.fingerprint}" in list(place.stages())
    place.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(vsftpd: Any, request: pytest.FixtureRequest) -> None:
    found = drop(vsftpd, "ftps")
    del found.query["tls.ca_file"]
    assert isinstance(_refusal(found), CertificateError)


def _refusal(found: Drop, **settings: str) -> TongquError:
    query = {name: value for name, value in (found.query | settings).items() if value}
    place, _ = Drop(found.base, query).place()
    try:
        with pytest.raises(TongquError) as caught:
            list(place.stages())
        return caught.value
    finally:
        place.close()


@pytest.mark.parametrize("kind", ["sftp", "ftps", "smb", "webdav", "s3"])
def test_places_are_reached_through_a_jump_host(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found = drop(request.getfixturevalue(KINDS[kind]), kind if kind == "ftps" else "")
    found.put("in/x.bin", CONTENT, tmp_path)
    sshd = request.getfixturevalue("sshd")
    hop = {
        "host": sshd.host, "port": sshd.port, "user": sshd.user, "key_file": str(sshd.key_file),
        "fingerprint": sshd.fingerprint,
    }  # fmt: skip
    direct = found.settings("in/x.bin")
    given = {name: getattr(direct, name) for name in direct.model_fields_set}
    shelf = Shelf(FileSettings.parse({**given, "via": [{"ssh": hop}]}))
    assert shelf.place is not None
    try:
        assert any(stage.startswith("hop 1 ssh:") for stage in shelf.place.stages())
        assert b"".join(shelf.place.read(shelf.path)) == CONTENT
    finally:
        shelf.close()


def test_a_private_key_may_be_given_itself(sshd: Any, tmp_path: Path) -> None:
    found = drop(sshd)
    direct = found.settings()
    given = {name: getattr(direct, name) for name in direct.model_fields_set - {"key_file"}}
    for key in (sshd.key_file.read_text(), "no key at all: geheim"):
        shelf = Shelf(FileSettings.parse({**given, "key": key}))
        assert shelf.place is not None
        if key.startswith("no"):
            with pytest.raises(InvalidSettingsError) as caught:
                list(shelf.place.stages())
            assert "geheim" not in f"{caught.value} {caught.value.hint}"
        else:
            assert list(shelf.place.stages())[-1] == "login"
        shelf.close()


@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_names_in_another_encoding(kind: str, request: pytest.FixtureRequest) -> None:
    found = drop(request.getfixturevalue(KINDS[kind]), kind)
    assert found.shown is not None
    for name in (b"plain.csv", "检验.csv".encode("gb18030")):
        Path(os.fsdecode(bytes(found.shown) + b"/" + name)).write_bytes(b"id\n1\n")
    shelf = Shelf(found.settings("p*.csv"))
    assert [one.label for one in shelf.find().popitem()[1]] == ["plain.csv"]
    shelf.close()
    shelf = Shelf(found.settings("*.csv"))
    with pytest.raises(ReadError, match="another encoding") as caught:
        shelf.find()
    assert "name_encoding" in caught.value.hint
    shelf.close()
    shelf = Shelf(found.settings("*.csv", name_encoding="gb18030"))
    listed = {one.label: one.path for one in shelf.find().popitem()[1]}
    assert sorted(listed) == ["plain.csv", "检验.csv"]
    with listed["检验.csv"].open("rb") as file:
        assert file.read() == b"id\n1\n"
    shelf.close()


def test_a_list_that_cannot_go_on_is_no_list(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = drop(s3)
    place, folder = found.place()
    answer = parse(b"<R><IsTruncated>true</IsTruncated><Contents><Key>drop/a.csv</Key></Contents></R>", "s3")
    monkeypatch.setattr(place, "_list", lambda *_: answer)
    with pytest.raises(AnswerError, match="how to go on"):
        list(place.walk(folder))
    place.close()


def test_a_very_long_name_is_copied(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    path = spool.copy("x", "检" * 300 + ".xlsx", lambda: iter([b"x"]))
    assert (path.read_bytes(), path.suffix) == (b"x", ".xlsx")
    spool.close()


@pytest.mark.parametrize("kind", ["sftp", "ftp"])
def test_paths_from_the_home_mean_the_same_all_the_time(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place, _ = drop(request.getfixturevalue(KINDS[kind]), kind).place()
    source, home = tmp_path / "x", f"~/{secrets.token_hex(6)}"
    source.write_bytes(b"x")
    place.make_folder(f"{home}/empty")
    assert place.entries(f"{home}/empty") == []
    place.put(f"{home}/x.csv", source)
    assert [one.path for one in place.entries(home) if not one.folder] == [f"{home}/x.csv"]
    place.delete_tree(home)
    assert place.there(home) is None
    place.close()
