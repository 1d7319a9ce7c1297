"""The shield lets no payload of the corpus through, and refuses at most one of a thousand harmless texts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.gateway.attacks.benign import benign
from tongqu.gateway.attacks.injections import DISGUISES, injections
from tongqu.gateway.shield.injection import examine


def test_no_payload_passes() -> None:
    payloads = list(injections())
    assert len(payloads) > 4500
    assert {one.disguise for one in payloads} == set(DISGUISES)
    assert [one for one in payloads if examine(one.text) is None] == []


def test_at_most_one_of_a_thousand_harmless_texts_is_refused() -> None:
    texts = benign()
    assert len(set(texts)) == 1000
    assert len([text for text in texts if examine(text) is not None]) <= 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1 OR 1=1", "condition"),
        ("admin'--", "comment"),
        ("1 UNION SELECT 1,2", "union"),
        ("'; DROP TABLE users--", "stacked"),
        ("1 AND SLEEP(5)", "function"),
        ("1 AND (SELECT 1 FROM users)", "subquery"),
        ("1 ORDER BY 9--", "clause"),
        ("'='", "bypass"),
        ("x'||'a'||'b", "concatenation"),
    ],
)
def test_a_finding_names_its_rule(text: str, rule: str) -> None:
    found = examine(text)
    assert found is not None
    assert found.rule == rule


@pytest.mark.parametrize(
    "text", ["O'Brien", "A-1 OR B-2", "5'10\"", "SELECT * FROM orders", "rock 'n' roll", "1 or 2", "张伟's 螺母"]
)
def test_what_people_write(text: str) -> None:
    assert examine(text) is None


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from(list("ab1'\"`();-#/*%&|=\\ \t\n$[]")), max_size=200))
def test_any_text_is_judged(text: str) -> None:
    assert examine(text) == examine(text)


@pytest.mark.parametrize(
    "unit", ["'", "(", "/*", "$", "' or(", "1 and (select ", "%25", "&amp;", "1,", "q'[", "\\'", "]"]
)
def test_no_text_takes_long(unit: str) -> None:
    began = time.process_time()
    examine(unit * (50_000 // len(unit)))
    assert time.process_time() - began < 2  # it takes some 30 ms; what grows with the square would take minutes
