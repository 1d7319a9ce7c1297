"""Attachments are files: read in every format, only new ones, their messages moved away afterwards."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tongqu.testing.command_line import inside, query
from tongqu.testing.letters import letter
from tongqu.testing.services import Dovecot


def workbook(*rows: tuple[Any, ...]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def project(folder: Path, dovecot: Dovecot, user: str, **more: Any) -> None:
    """A project with the mailbox as connection `post`."""
    lines = [
        "connections:", "  post:", "    type: file", f"    address: imap://127.0.0.1:{dovecot.port}",
        f"    user: {user}", "    password: ${env:MAIL_PASSWORD}", f"    tls: {{ca_file: {dovecot.ca_file}}}",
        *(f"    {name}: {value}" for name, value in more.items()),
    ]  # fmt: skip
    (folder / "tongqu.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def sync(folder: Path, dovecot: Dovecot, *more: str) -> Any:
    done = inside(folder, "sync", "post", "sqlite:a.db", *more, "--json", MAIL_PASSWORD=dovecot.password)
    assert done.code == 0, done.err
    return done.document


def test_workbooks_of_several_mails_are_one_table(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.put(user, letter("week 1", 日报_xlsx=workbook(("id", "v"), (1, "a"), (2, "b")), notes_txt=b"no"))
    dovecot.put(user, letter("week 2", 日报_xlsx=workbook(("id", "v"), (3, "c"))))
    project(tmp_path, dovecot, user, path='"INBOX/*.xlsx"')
    document = sync(tmp_path, dovecot, "--write", "append")
    assert [stream["inserted"] for stream in document["streams"]] == [3]
    (name,) = [name for (name,) in query(tmp_path / "a.db", _TABLES)]
    assert query(tmp_path / "a.db", f'SELECT id, v FROM "{name}" ORDER BY id') == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize("after", ["keep", "move", "delete"])
def test_only_new_attachments_are_read(dovecot: Dovecot, user: str, tmp_path: Path, after: str) -> None:
    more = {"after": after} | ({"archive": "/Done"} if after == "move" else {})
    project(
        tmp_path, dovecot, user, path='"INBOX/*.csv"', mail='{subject: "*order*", sender: "*@supplier.com"}', **more
    )
    dovecot.put(user, letter("orders 1", orders_csv=b"id,v\n1,a\n"), letter("spam", orders_csv=b"id,v\n9,x\n"))
    how = ("--mode", "incremental", "--write", "append")
    assert sync(tmp_path, dovecot, *how)["streams"][0]["inserted"] == 1
    dovecot.put(user, letter("orders 2", orders_csv=b"id,v\n2,b\n"))
    assert sync(tmp_path, dovecot, *how)["streams"][0]["inserted"] == 1
    (name,) = [name for (name,) in query(tmp_path / "a.db", _TABLES)]
    assert query(tmp_path / "a.db", f'SELECT id FROM "{name}" ORDER BY id') == [(1,), (2,)]
    client = dovecot.client(user)
    kind, data = client.select("INBOX", readonly=True)
    assert (kind, data) == ("OK", [b"3" if after == "keep" else b"1"])
    if after == "move":
        assert client.select("Done", readonly=True)[1] == [b"2"]
    client.logout()


def test_a_message_goes_when_all_its_attachments_are_read(dovecot: Dovecot, user: str, tmp_path: Path) -> None:
    dovecot.put(user, letter("week 1", orders_csv=b"id\n1\n", lines_csv=b"id\n2\n"))
    project(tmp_path, dovecot, user, path="INBOX", after="delete")
    how = ("--mode", "incremental", "--write", "append")
    for names, left in ((("--table", "orders"), b"1"), (("--table", "lines"), b"1"), ((), b"0")):
        sync(tmp_path, dovecot, *names, *how)
        client = dovecot.client(user)
        assert client.select("INBOX", readonly=True)[1] == [left], names
        client.logout()
    assert query(tmp_path / "a.db", "SELECT DISTINCT id FROM lines") == [(2,)]


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB '[A-Z]*'"
