"""All texts of a body are looked at as a parser would join them."""

from __future__ import annotations

import pytest

from tongqu.gateway.shield.inside import texts_of


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("<a><b x='1'>L1</b></a>", ["1", "L1"]),
        ("<a>1' OR <![CDATA[1<2]]></a>", ["1' OR 1<2"]),
        ("<a>1'<!-- --> OR <?pi?>1=1</a>", ["1' OR 1=1"]),
        ("<a>1' OR 2>1</a>", ["1' OR 2>1"]),
        ("<a><![CDATA[<!-- kept --><b>]]></a>", ["<!-- kept --><b>"]),
        ("<a>&lt;&amp;amp;</a>", ["<&amp;"]),
    ],
)
def test_texts_of_xml(body: str, texts: list[str]) -> None:
    for encoding in ("utf-8", "utf-16"):
        assert [text for text in texts_of(body.encode(encoding), "text/xml; charset=x") if text.strip()] == texts
