"""Documents are read as trees; what could define entities, nests without end or is no XML is refused."""

from __future__ import annotations

import pytest

from tongqu.core.errors import AnswerError
from tongqu.kit.xml_tree import local, tree


def test_names_keep_their_namespaces() -> None:
    root = tree(b'<a xmlns="urn:a" xmlns:b="urn:b" b:c="1"><d>text</d></a>', "doc")
    assert (root.tag, root.attrib, local(root[0].tag), root[0].text) == ("{urn:a}a", {"{urn:b}c": "1"}, "d", "text")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!DOCTYPE a><a/>", "document type"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        (b"<a>" * 101, "deeper"),
        (b"<a><b></a>", "no XML"),
        (b"Please log in", "no XML"),
    ],
)
def test_what_is_no_plain_document_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(AnswerError, match=said):
        tree(body, "doc")
