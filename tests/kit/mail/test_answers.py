"""What IMAP servers answer: structures of messages, names of files in every old way of writing them, and nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import AnswerError
from tongqu.kit.mail.answers import attachments, items, text_of, values
from tongqu.kit.mail.names import decoded, encoded


def structure(text: bytes) -> Any:
    (answer,) = values([b"1 (BODYSTRUCTURE " + text + b")"])
    return items(answer)["BODYSTRUCTURE"]


PIECES = [b"(", b")", b'"', b"1 (UID 5", b" NIL", b"\\"]
PART = b'("APPLICATION" "PDF" %s NIL NIL "BASE64" 100 NIL %s NIL NIL)'


@pytest.mark.parametrize(
    ("kind", "disposition", "name"),
    [
        (b"NIL", b'("ATTACHMENT" ("FILENAME" "a b.pdf"))', "a b.pdf"),
        (b'("NAME" "a.pdf")', b"NIL", "a.pdf"),
        (b"NIL", b'("ATTACHMENT" ("FILENAME" "=?UTF-8?B?5pel5oqlLnBkZg==?="))', "日报.pdf"),
        (b"NIL", b'("ATTACHMENT" ("FILENAME*" "utf-8\'\'%E6%97%A5%E6%8A%A5.pdf"))', "日报.pdf"),
        (b"NIL", b'("ATTACHMENT" ("FILENAME*0*" "utf-8\'\'%E6%97%A5" "FILENAME*1*" "%E6%8A%A5.pdf"))', "日报.pdf"),
        (b"NIL", b'("ATTACHMENT" ("FILENAME*0" "long-" "FILENAME*1" "name.pdf"))', "long-name.pdf"),
        (b"NIL", b'("ATTACHMENT" ("FILENAME" "say \\"hi\\".pdf"))', 'say "hi".pdf'),
    ],
)
def test_a_file_name_is_found_however_it_is_written(kind: bytes, disposition: bytes, name: str) -> None:
    (found,) = attachments(structure(PART % (kind, disposition)))
    assert (found.section, found.name, found.encoding) == ("1", name, "base64")


def test_parts_are_numbered_as_servers_do() -> None:
    text = b'("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "7BIT" 4 1 NIL NIL NIL NIL)'
    pdf = PART % (b'("NAME" "x.pdf")', b"NIL")
    mixed = (
        b"((" + text + text + b' "ALTERNATIVE" NIL NIL NIL)' + pdf + b"(" + pdf + text + b' "MIXED") "MIXED" NIL NIL)'
    )
    assert [one.section for one in attachments(structure(mixed))] == ["2", "3.1"]


def test_a_literal_is_a_value() -> None:
    (answer,) = values(
        [(b'1 (UID 5 BODYSTRUCTURE ("APPLICATION" "X" ("NAME" {7}', b"a b.csv"), b') NIL NIL "7BIT" 3))']
    )
    assert items(answer)["UID"] == b"5"
    assert [one.name for one in attachments(items(answer)["BODYSTRUCTURE"])] == ["a b.csv"]


def test_a_section_with_a_list_of_fields_is_one_name() -> None:
    (answer,) = values([(b"3 (UID 9 BODY[HEADER.FIELDS (FROM TO)] {4}", b"x\r\n\r"), b")"])
    assert items(answer) == {"UID": b"9", "BODY[HEADER.FIELDS (FROM TO)]": b"x\r\n\r"}


def test_text_in_no_known_charset_stays_readable() -> None:
    assert text_of("日报".encode("gb18030")) == "日报"
    assert text_of(b"=?x-unknown?B?AAAA?=") == "=?x-unknown?B?AAAA?="


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_names_of_mailboxes_come_back(name: str) -> None:
    assert decoded(encoded(name).encode("ascii")) == name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=30), st.sampled_from([b"(", b")", b'"', b"1 (UID 5", b" NIL", b"\\"])), max_size=8
    )
)
def test_nonsense_is_an_answer_error_or_no_attachment(pieces: list[bytes]) -> None:
    try:
        for answer in values([b"".join(pieces)]):
            list(attachments(items(answer).get("BODYSTRUCTURE")))
            list(attachments(answer))
    except AnswerError:
        return
