"""Archives are taken at their bytes, not at their word."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tongqu.core.errors import AuthError, NotFoundError, ReadError
from tongqu.kit.places import archive

GIB = 1 << 30


def test_members_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("in/订单.csv", "a\n1\n")
        made.mkdir("empty")
    assert [(one.name, one.size) for one in archive.members(path, GIB)] == [("in/订单.csv", 4)]
    assert b"".join(archive.content(path, "in/订单.csv")) == b"a\n1\n"
    with pytest.raises(NotFoundError):
        list(archive.content(path, "other.csv"))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
def test_names_that_do_not_say_their_encoding(tmp_path: Path, encoding: str) -> None:
    raw = "检验.csv".encode(encoding)
    info = zipfile.ZipInfo("x" * len(raw))
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(info, "a\n")
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))  # as old programs write them, without the flag
    assert [one.name for one in archive.members(path, GIB)] == ["检验.csv"]
    assert b"".join(archive.content(path, "检验.csv")) == b"a\n"


@pytest.mark.parametrize("name", ["../x.csv", "a/../../x.csv", "/etc/passwd", "C:\\x.csv", "..\\x.csv"])
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / f"x.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as made:
            made.writestr(zipfile.ZipInfo(name), "a\n")
    else:
        with tarfile.open(path, "w") as tar:
            tar.addfile(_member(name, 2), io.BytesIO(b"a\n"))
    with pytest.raises(ReadError, match="leads out"):
        archive.members(path, GIB)


def test_what_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.csv", b"\0" * (20 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ReadError, match="unpacks to 20 MB"):
        archive.members(path, 10 << 20)


def test_a_zip_that_lies_about_sizes_gives_no_more_than_it_said(tmp_path: Path) -> None:
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.csv", b"a" * 100_000)
    data = path.read_bytes().replace(struct.pack("<L", 100_000), struct.pack("<L", 10))
    path.write_bytes(data)
    with pytest.raises(ReadError, match="damaged"):
        list(archive.content(path, "x.csv"))


def test_links_and_devices_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        link = _member("link.csv", 0)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        device = _member("device.csv", 0)
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
        tar.addfile(_member("a.csv", 2), io.BytesIO(b"a\n"))
    assert [one.name for one in archive.members(path, GIB)] == ["a.csv"]


def test_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    header = _member("././@LongLink", 8 * GIB)
    header.type = tarfile.GNUTYPE_LONGNAME
    path = tmp_path / "x.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_240)
    with pytest.raises(ReadError, match="header of"):
        archive.members(path, 100 * GIB)


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_compressed_tars_are_inflated(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    mode = {"tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[ending]
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # the mode is one of four
        tar.addfile(_member("a.csv", 4), io.BytesIO(b"a\n1\n"))
    assert archive.needs_plain(path.name)
    plain = tmp_path / "x.tar"
    plain.write_bytes(b"".join(archive.inflated(path)))
    assert b"".join(archive.content(plain, "a.csv")) == b"a\n1\n"


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_damaged_archives_are_told(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"PK\x03\x04 nothing of the kind" * 100)
    with pytest.raises(ReadError, match="damaged"):
        archive.members(path, GIB)


def test_a_zip_with_a_password_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    made = subprocess.run(["zip", "-q", "-P", "geheim", "x.zip", "a.csv"], cwd=tmp_path, check=False)
    assert made.returncode == 0
    with pytest.raises(AuthError, match="password"):
        list(archive.content(tmp_path / "x.zip", "a.csv"))


def _member(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    return made


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_of_several_members_with_one_name_the_last_is_meant(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    for content in (b"old\n", b"newer\n"):
        if form == "zip":
            with zipfile.ZipFile(path, "a") as made:
                made.writestr(zipfile.ZipInfo("x.csv"), content)
        else:
            with tarfile.open(path, "a") as tar:
                tar.addfile(_member("x.csv", len(content)), io.BytesIO(content))
    assert [(one.name, one.size) for one in archive.members(path, GIB)] == [("x.csv", 6)]
    assert b"".join(archive.content(path, "x.csv")) == b"newer\n"
