"""Rows that go out as mails: who gets what, and that nobody gets it twice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from tongqu.connectors.smtp.settings import SmtpSettings
from tongqu.connectors.smtp.sink import SmtpSink
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import AuthError, CertificateError, ConnectError, InvalidPlanError, InvalidSettingsError
from tongqu.kit.remote.calls import Which
from tongqu.testing.command_line import inside, make
from tongqu.testing.pour import pour
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.mail_catcher import MailCatcher

ROWS = pa.table({
    "line": ["A", "B", "A", "C"],
    "email": ["a@example.com", "b@example.com", "a@example.com", "c@elsewhere.org"],
    "qty": [1, 2, 3, 4],
    "note": ["<b>好</b>", "ok", None, "x"],
})  # fmt: skip


@pytest.fixture
def catcher() -> Iterator[MailCatcher]:
    with MailCatcher() as running:
        yield running


def settings(catcher: MailCatcher, **more: Any) -> SmtpSettings:
    base = {"host": "127.0.0.1", "port": catcher.port, "security": "none", "sender": "reports@example.com"}
    calls = {"pause_seconds": 0, **more.pop("calls", {})}
    return SmtpSettings.parse({**base, "to": ["boss@example.com"], "calls": calls, **more})


def sent(home: Path, how: SmtpSettings, *chunks: pa.Table, run: str = "run 1") -> tuple[Counts, list[dict[str, Any]]]:
    """Pour chunks; the counts, and the quarantined rows of the run."""
    rows = chunks or (ROWS,)
    sink = SmtpSink(how)
    sink.lodge(home)
    with closing(sink):
        write = Write("report", Dataset("report", rows[0].schema), WriteMode.APPEND, "sync", run)
        return pour(sink, write, rows), sink.quarantined(run=run)


def sheet(message: Any) -> list[tuple[Any, ...]]:
    (attached,) = message.iter_attachments()
    book = openpyxl.load_workbook(io.BytesIO(attached.get_content()))
    return [tuple(cell.value for cell in row) for row in book.worksheets[0].iter_rows()]


def test_all_rows_go_in_one_mail(tmp_path: Path, catcher: MailCatcher) -> None:
    how = settings(catcher, subject="{dataset} 日报 ({rows})", text="见附件", html="<p>{dataset}</p>{table}")
    counts, bad = sent(tmp_path, how, ROWS.slice(0, 3), ROWS.slice(3))
    assert (counts.inserted, bad) == (4, [])
    ((recipients, mail),) = catcher.mails
    assert recipients == ("boss@example.com",)
    assert (mail["From"], mail["To"]) == ("reports@example.com", "boss@example.com")
    assert mail["Subject"] == "report 日报 (4)"
    assert [row[0] for row in sheet(mail)] == ["line", "A", "B", "A", "C"]
    body = mail.get_body(("html",))
    assert body is not None
    assert "&lt;b&gt;好&lt;/b&gt;" in body.get_content()


def test_each_group_gets_its_own_rows(tmp_path: Path, catcher: MailCatcher) -> None:
    how = settings(
        catcher, to=["{email}"], per=["line"], allow=["*@example.com"], leave_out=["email"], subject="line {line}"
    )
    counts, bad = sent(tmp_path, how)
    assert (counts.inserted, counts.quarantined) == (3, 1)
    assert {(to, mail["Subject"]): len(sheet(mail)) - 1 for to, mail in catcher.mails} == {
        (("a@example.com",), "line A"): 2,
        (("b@example.com",), "line B"): 1,
    }
    assert sheet(catcher.mails[0][1])[0] == ("line", "qty", "note")
    assert [row["message"] for row in bad] == ["c@elsewhere.org is not among the recipients that the connection allows"]


def test_each_row_is_a_mail_with_csv(tmp_path: Path, catcher: MailCatcher) -> None:
    how = settings(catcher, per=["row"], attach="csv", subject="{qty}")
    counts, _ = sent(tmp_path, how)
    assert counts.inserted == 4
    assert sorted(mail["Subject"] for _, mail in catcher.mails) == ["1", "2", "3", "4"]
    ((attached,), *_) = [list(mail.iter_attachments()) for _, mail in catcher.mails if mail["Subject"] == "2"]
    assert attached.get_filename() == "report.csv"
    content = attached.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert content.decode("utf-8-sig").splitlines()[1] == "B,b@example.com,2,ok"


def test_a_mail_whose_fate_is_unknown_is_not_sent_again(tmp_path: Path, catcher: MailCatcher) -> None:
    catcher.silent = 1
    how = settings(catcher)
    counts, bad = sent(tmp_path, how)
    assert (counts.inserted, counts.quarantined) == (0, 4)
    assert {row["code"] for row in bad} == {"call.unknown"}
    assert len(catcher.mails) == 1
    sink = SmtpSink(how)
    sink.lodge(tmp_path)
    with closing(sink):
        assert {one.state for one in sink.retry_calls(Which(run="run 1"))} == {"ok"}
        assert {row["state"] for row in sink.quarantined()} == {"replayed"}
    ids = {mail["Message-ID"] for _, mail in catcher.mails}
    assert len(catcher.mails) == 2
    assert len(ids) == 1, "the same mail keeps its Message-ID"


@pytest.mark.parametrize(("point", "mails"), [("before_call", 1), ("after_call", 2), ("in_finish", 2)])
def test_a_run_that_dies_sends_no_mail_twice(
    tmp_path: Path, catcher: MailCatcher, monkeypatch: pytest.MonkeyPatch, point: str, mails: int
) -> None:
    how = settings(catcher, per=["line"], calls={"concurrency": 1})
    rows = ROWS.slice(0, 2)
    left = [2]

    def die(name: str) -> None:
        left[0] -= point in (name, "in_finish")
        if name == point and left[0] <= 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for module in ("sending", "sink"):
            patch.setattr(f"tongqu.kit.remote.{module}.crash_point", die)
        left[0] = 1 if point == "in_finish" else 2
        with pytest.raises(KeyboardInterrupt):
            sent(tmp_path, how, rows)
    counts, bad = sent(tmp_path, how, rows)
    assert len(catcher.mails) == len({mail["Message-ID"] for _, mail in catcher.mails}) == mails
    assert counts.inserted + len(bad) == 2
    assert {row["code"] for row in bad} <= {"call.unknown"}


def test_a_part_of_a_mail_is_sent_again_as_the_whole_mail(tmp_path: Path, catcher: MailCatcher) -> None:
    catcher.replies = ["554 no"]
    sent(tmp_path, settings(catcher))
    sink = SmtpSink(settings(catcher))
    sink.lodge(tmp_path)
    with closing(sink):
        one = sink.calls(Which())[0]
        assert {handled.state for handled in sink.retry_calls(Which(ids=(one["id"],)))} == {"ok"}
    ((_, mail),) = catcher.mails
    assert len(sheet(mail)) == 5


def test_the_command_line_sends_a_report(tmp_path: Path, catcher: MailCatcher) -> None:
    make(tmp_path / "a.db", "defects", "id INTEGER PRIMARY KEY, what TEXT", [(1, "scratch"), (2, "dent")])
    url = f"smtp://127.0.0.1:{catcher.port}?security=none&sender=me@example.com&to=you@example.com"
    assert inside(tmp_path, "check", url).code == 0
    done = inside(tmp_path, "sync", "sqlite:a.db", url, "--table", "defects", "--write", "append", "--json")
    assert (done.code, done.document["streams"][0]["inserted"]) == (0, 2)
    assert catcher.mails[0][1]["Subject"] == "defects: 2"
    listed = inside(tmp_path, "calls", "list", url, "--json").document["calls"]
    assert {call["peer"] for call in listed} == {catcher.mails[0][1]["Message-ID"]}


def test_a_server_that_is_busy_is_tried_again(tmp_path: Path, catcher: MailCatcher) -> None:
    catcher.replies = ["451 try later", "421 too many"]
    counts, _ = sent(tmp_path, settings(catcher))
    assert (counts.inserted, len(catcher.mails)) == (4, 1)


def test_a_refused_recipient_stops_the_whole_mail(tmp_path: Path, catcher: MailCatcher) -> None:
    catcher.refused = frozenset({"gone@example.com"})
    counts, bad = sent(tmp_path, settings(catcher, to=["boss@example.com", "gone@example.com"]))
    assert (counts.inserted, catcher.mails) == (0, [])
    assert {(row["code"], row["message"].partition(": ")[2]) for row in bad} == {
        ("call.refused", "550 no such user here")
    }


def test_the_next_run_sends_the_next_report(tmp_path: Path, catcher: MailCatcher) -> None:
    for run in ("run 1", "run 2"):
        sent(tmp_path, settings(catcher), run=run)
    assert len({mail["Message-ID"] for _, mail in catcher.mails}) == 2


def test_a_header_cannot_be_smuggled_in(tmp_path: Path, catcher: MailCatcher) -> None:
    rows = pa.table({"title": ["hello\r\nBcc: spy@example.com"], "email": ["a@example.com\r\nspy@example.com"]})
    sent(tmp_path, settings(catcher, subject="{title}"), rows)
    ((recipients, mail),) = catcher.mails
    assert (recipients, mail["Bcc"], mail["Subject"]) == (
        ("boss@example.com",), None, "hello Bcc: spy@example.com",
    )  # fmt: skip
    counts, _ = sent(tmp_path, settings(catcher, to=["{email}"], allow=["*@example.com"]), rows, run="run 2")
    assert counts.quarantined == 1


def test_a_text_line_that_is_a_dot_arrives(tmp_path: Path, catcher: MailCatcher) -> None:
    sent(tmp_path, settings(catcher, text="one\n.\ntwo"))
    body = catcher.mails[0][1].get_body(("plain",))
    assert body is not None
    assert body.get_content().split() == ["one", ".", "two"]


def test_login_over_starttls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with MailCatcher(user="me", password="s3cret", starttls=authority.server()) as catcher:  # the test's own
        trusted = {"security": "starttls", "user": "me", "tls": {"ca_file": str(authority.ca_file)}}
        good = settings(catcher, **trusted, password="s3cret")  # the test's own
        assert list(SmtpSink(good).check()) == ["dns", "tcp", "tls: TLSv1.3", "login", "sender"]
        assert sent(tmp_path, good)[0].inserted == 4
        with pytest.raises(AuthError) as caught:
            list(SmtpSink(settings(catcher, **trusted, password="wr0ng")).check())  # the test's own
        assert "wr0ng" not in str(caught.value) + caught.value.hint
        with pytest.raises(CertificateError):
            list(SmtpSink(settings(catcher, security="starttls")).check())


def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with MailCatcher(tls=authority.server()) as catcher:
        how = settings(catcher, security="tls", tls={"ca_file": str(authority.ca_file)})
        assert list(SmtpSink(how).check()) == ["dns", "tcp", "tls: TLSv1.3", "sender"]
        assert sent(tmp_path, how)[0].inserted == 4


def test_a_server_without_starttls_is_not_talked_to_in_the_clear(catcher: MailCatcher) -> None:
    with pytest.raises(ConnectError, match="offers no STARTTLS"):
        list(SmtpSink(settings(catcher, security="starttls")).check())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"to": ["nobody"]}, "is no address"),
        ({"sender": "x"}, "name the address"),
        ({"subject": "{a.b}"}, "a column's name in braces"),
        ({"allow": ["*"]}, "neither an address nor"),
        ({"calls": {"group": "line"}}, "cannot be taken back"),
    ],
)
def test_what_cannot_work_is_refused_from_the_settings_alone(
    catcher: MailCatcher, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSettingsError, match=said):
        settings(catcher, **wrong)


def test_a_place_that_no_column_fills_is_refused_before_the_run(tmp_path: Path, catcher: MailCatcher) -> None:
    with pytest.raises(InvalidPlanError, match="needs a column 'lines'"):
        sent(tmp_path, settings(catcher, subject="{lines}"))
