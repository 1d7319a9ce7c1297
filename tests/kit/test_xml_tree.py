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


def test_elements_are_asked_by_plain_names_and_know_their_prefixes() -> None:
    root = tree(
        b'<a xmlns="urn:a" xmlns:p="urn:p"><p:b p:kind="x" type="p:T"> 1 <c xmlns:p="urn:q">2</c></p:b></a>', "it"
    )
    b = root.first("b")
    assert b is not None
    assert (b.name, b.space, b.value("kind"), b.value("none"), b.said()) == ("b", "urn:p", "x", "", "1  2")
    assert b.qualified(b.value("type")) == ("urn:p", "T")
    (c,) = root.everywhere("c")
    assert (c.qualified("p:T"), c.qualified("T")) == (("urn:q", "T"), ("urn:a", "T"))
    assert root.first("b", "d") is None
