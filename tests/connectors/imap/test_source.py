"""Messages as rows: all of them, only new ones, and what becomes of those that were read."""

from __future__ import annotations

import imaplib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from tongqu.connectors.imap.settings import ImapSettings, claims, from_url
from tongqu.connectors.imap.source import ImapSource
from tongqu.core.data import Batch, Mode, Position, Read, Split
from tongqu.core.errors import (
    AuthError,
    CertificateError,
    ConnectError,
    InvalidSettingsError,
    LostPositionError,
    NotFoundError,
    ReadError,
)
from tongqu.testing.letters import letter
from tongqu.testing.services import Dovecot


def read(source: ImapSource, name: str = "INBOX", after: Position | None = None) -> list[Batch]:
    (dataset,) = source.datasets([name])
    (split,) = source.splits(dataset, 1)
    return list(source.read(Read(dataset, split, after=after)))


def rows(batches: list[Batch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.rows.to_pylist()]


def test_a_message_is_a_row(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter("日报 (1)", sender="王 <wang@厂.cn>", report_xlsx=b"x", 明细_csv=b"a,b\n"), at=1767600000)
    with closing(ImapSource(from_url(url))) as source:
        (row,) = rows(read(source))
    assert (row["from"], row["subject"], row["to"]) == ("wang@厂.cn", "日报 (1)", ["me@example.com"])
    assert row["attachments"] == ["report.xlsx", "明细.csv"]
    assert row["date"] == datetime(2026, 1, 5, 0, 0, tzinfo=UTC)
    assert row["received"] == datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
    assert (row["seen"], row["uid"]) == (False, 1)


def test_a_read_goes_on_after_any_batch(dovecot: Dovecot, user: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.connectors.imap.source._AT_ONCE", 3)
    dovecot.put(user, *(letter(f"m{number}") for number in range(8)))
    with closing(ImapSource(from_url(url))) as source:
        whole = read(source)
        subjects = [row["subject"] for row in rows(whole)]
        assert subjects == [f"m{number}" for number in range(8)]
        for number, batch in enumerate(whole[:-1], 1):
            assert rows(whole[:number]) + rows(read(source, after=batch.position)) == rows(whole)
        assert (whole[-1].position or {})["end"]


def test_only_new_messages_are_read(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter("one"))
    with closing(ImapSource(from_url(url))) as source:
        (dataset,) = source.datasets(["INBOX"])
        first = source.horizon(dataset, "", None)
        assert source.horizon(dataset, "", first) is None
        dovecot.put(user, letter("two"), letter("three"))
        second = source.horizon(dataset, "", first)
        split = Split("0", "INBOX", {"after": first, "until": second})
        found = rows(list(source.read(Read(dataset, split, after=first, until=second, mode=Mode.INCREMENTAL))))
        assert [row["subject"] for row in found] == ["two", "three"]


def test_a_mailbox_that_was_numbered_anew_stops_the_stream(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter("one"))
    with closing(ImapSource(from_url(url))) as source:
        (dataset,) = source.datasets(["INBOX"])
        with pytest.raises(LostPositionError, match="numbered the messages of 'INBOX' anew"):
            source.horizon(dataset, "", {"validity": 1, "uid": 7})


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"subject": "*日报*"}, ["日报 1", "日报 2"]),
        ({"sender": "*@OTHER.com"}, ["日报 2"]),
        ({"since": "2026-01-04"}, ["日报 2", "else"]),
        ({"subject": "nothing"}, []),
    ],
)
def test_messages_are_chosen(dovecot: Dovecot, user: str, url: str, asked: dict[str, str], wanted: list[str]) -> None:
    dovecot.put(user, letter("日报 1"), at=datetime(2026, 1, 3, 12, tzinfo=UTC).timestamp())
    dovecot.put(
        user,
        letter("日报 2", sender="b@other.com"),
        letter("else"),
        at=datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp(),
    )
    settings = from_url(url).model_copy(update={"mail": ImapSettings.parse({"host": "x", "mail": asked}).mail})
    with closing(ImapSource(settings)) as source:
        assert [row["subject"] for row in rows(read(source))] == wanted


@pytest.mark.parametrize("after", ["seen", "flag", "move", "delete"])
def test_what_becomes_of_messages_that_were_read(dovecot: Dovecot, user: str, url: str, after: str) -> None:
    dovecot.put(user, letter("a report"), letter("other"))
    more = f"&after={after}&mail.subject=*report*" + ("&archive=Done/2026" if after == "move" else "")
    with closing(ImapSource(from_url(url + more))) as source:
        (dataset,) = source.datasets(["INBOX"])
        position = source.horizon(dataset, "", None)
        dovecot.put(user, letter("late report"))
        source.finished(dataset, position)
        source.finished(dataset, position)
    with closing(ImapSource(from_url(url.replace("/INBOX", "")))) as source:
        left = {row["subject"]: row for row in rows(read(source))}
        assert not left["late report"]["seen"]
        if after in ("seen", "flag"):
            mark = "seen" if after == "seen" else "flagged"
            assert (left["a report"][mark], left["other"][mark]) == (True, False)
        else:
            assert set(left) == {"other", "late report"}
        if after == "move":
            assert [row["subject"] for row in rows(read(source, "Done/2026"))] == ["a report"]


def test_check_says_what_works_and_what_does_not(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter(), mailbox="存档/2026")
    plain = from_url(url).model_copy(update={"mailbox": ""})
    secured = plain.model_copy(
        update={"security": "starttls", "tls": plain.tls.model_copy(update={"ca_file": str(dovecot.ca_file)})}
    )
    with closing(ImapSource(secured)) as source:
        stages = list(source.check())
        assert [stage.partition(":")[0] for stage in stages[:4]] == ["dns", "tcp", "tls", "login"]
        assert "存档/2026 (1 messages so far)" in stages
    with (
        pytest.raises(CertificateError),
        closing(ImapSource(plain.model_copy(update={"security": "starttls"}))) as source,
    ):
        list(source.check())
    wrong = ImapSettings.parse({**plain.model_dump(exclude={"via", "tls", "mail"}), "password": "wr0ng"})
    with pytest.raises(AuthError) as caught, closing(ImapSource(wrong)) as source:
        list(source.check())
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(NotFoundError), closing(ImapSource(plain.model_copy(update={"mailbox": "no"}))) as source:
        source.datasets()


def test_a_lost_connection_is_made_anew(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter("one"))
    with closing(ImapSource(from_url(url))) as source:
        read(source)
        dovecot.kill9()
        dovecot.restart()
        with pytest.raises(ConnectError):
            read(source)
        assert len(rows(read(source))) == 1


def test_urls_with_files_in_their_path_mean_attachments() -> None:
    assert claims("imaps://me@host/INBOX")
    assert claims("imaps://me@host/Archive/2026?mail.since=30 d")
    assert not claims("imaps://me@host/INBOX/*.xlsx")
    assert not claims("imaps://me@host/INBOX/*")


def test_moving_needs_a_place_to_move_to() -> None:
    with pytest.raises(InvalidSettingsError, match="go together"):
        from_url("imaps://me@host/INBOX?after=move")


def test_what_a_filter_let_through_later_is_not_put_away_unread(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter("week 1"), letter("month 1"))
    with closing(ImapSource(from_url(f"{url}&after=delete&mail.subject=week*"))) as source:
        (dataset,) = source.datasets(["INBOX"])
        position = source.horizon(dataset, "", None)
        source.finished(dataset, position)
    with closing(ImapSource(from_url(f"{url}&after=delete&mail.subject=month*"))) as source:
        assert source.horizon(dataset, "", position) is None
        source.finished(dataset, position)
        assert [row["subject"] for row in rows(read(source))] == ["month 1"]
        dovecot.put(user, letter("month 2"))
        source.finished(dataset, source.horizon(dataset, "", position))
        assert [row["subject"] for row in rows(read(source))] == ["month 1"], "read by no run: only the second one was"


def test_other_messages_under_the_same_numbers_are_left_alone(dovecot: Dovecot, user: str, url: str) -> None:
    dovecot.put(user, letter("one"))
    with closing(ImapSource(from_url(f"{url}&after=delete"))) as source:
        (dataset,) = source.datasets(["INBOX"])
        position = source.horizon(dataset, "", None)
        source.finished(dataset, {**(position or {}), "validity": 1})
        assert len(rows(read(source))) == 1


def test_two_mailboxes_are_read_side_by_side(dovecot: Dovecot, user: str, url: str) -> None:
    for name in ("a", "b"):
        dovecot.put(user, *(letter(f"{name} {number}") for number in range(20)), mailbox=name)
    found: dict[str, set[str]] = {"a": set(), "b": set()}
    with closing(ImapSource(from_url(url.replace("/INBOX", "")))) as source:

        def go(name: str) -> None:
            for number in range(1, 21):
                uids = source._box.uids(name, number, number)
                found[name] |= {one.subject for one in source._box.messages(name, uids)}

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(go, found))
    assert found == {name: {f"{name} {number}" for number in range(20)} for name in found}


def test_a_server_that_says_no_gives_no_rows(
    dovecot: Dovecot, user: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dovecot.put(user, letter("one"))
    with closing(ImapSource(from_url(url))) as source:
        source.datasets(["INBOX"])
        real = imaplib.IMAP4.uid

        def busy(protocol: imaplib.IMAP4, command: str, *arguments: str) -> Any:
            return ("NO", [b"[LIMIT] later"]) if command == "FETCH" else real(protocol, command, *arguments)

        monkeypatch.setattr(imaplib.IMAP4, "uid", busy)
        with pytest.raises(ReadError, match="LIMIT"):
            read(source)
