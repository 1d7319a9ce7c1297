"""A pattern with its values is the very question that the whole query is."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Slot
from tongqu.gateway.problems import Problem
from tongqu.gateway.rest.patterns import marked, slotted, split
from tongqu.gateway.rest.query import words


def asked(query: str) -> Ask:
    return words(parse_qsl(query, keep_blank_values=True), ()).ask


def filled(part: Condition, values: list[str]) -> Condition:
    if isinstance(part, Negated):
        return Negated(filled(part.part, values))
    if isinstance(part, Joined):
        return Joined(part.word, tuple(filled(one, values) for one in part.parts))
    return replace(part, value=values[part.value.place]) if isinstance(part.value, Slot) else part


def by_pattern(query: str) -> Ask | None:
    found = split(query)
    if found is None:
        return None
    ask = slotted(asked(marked(found[0])[0]), marked(found[0])[1])
    assert ask is not None and ask.where is not None
    return replace(ask, where=filled(ask.where, found[1]))


@pytest.mark.parametrize(
    "query",
    [
        "id=gt.5&order=id&limit=20",
        "id=gt.5&id=lt.10&select=id,lot",
        "lot=not.eq.L%201&limit=3",
        "lot=eq.a+b%2Bc&or=(id.eq.1,id.eq.2)&id=gte.7",
        "lot=eq.",
        "lot=eq.%E5%BC%A0&lot=neq.%FF",
        "limit=5&&lot=eq.x=y",
        "id=in.(1,2)&lot=eq.(a,b)",
    ],
)
def test_a_pattern_and_its_values_are_the_question(query: str) -> None:
    assert by_pattern(query) == asked(query)


@given(
    st.lists(
        st.tuples(st.sampled_from(["id", "lot", "not.x", "a->b", "or_"]), st.sampled_from(["eq", "not.gt", "lte", "is",
        "like"]), st.text(max_size=8)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_whatever_is_compared_with(parts: list[tuple[str, str, str]]) -> None:
    query = "&".join(f"{name}={operator}.{quote(value)}" for name, operator, value in parts)
    found = split(query)
    if found is None:
        return
    try:
        whole = asked(query)
    except Problem:
        return
    assert by_pattern(query) == whole


@pytest.mark.parametrize(
    "query",
    ["", "select=id", "order=eq.5", "limit=gt.5", "or=eq.5", "id=is.null", "id=in.(1,2)", "id=gt.5&lot=like.%00*",
     "id=gt(any).{1,2}", "id=gt.1&" * 60],
)  # fmt: skip
def test_what_is_no_pattern(query: str) -> None:
    assert split(query) is None


def test_a_value_never_becomes_part_of_a_pattern() -> None:
    first, again = split("id=gt.5&limit=2"), split("id=gt.select%3Dx%26&limit=2")
    assert first is not None and again is not None
    assert first[0] == again[0] and again[1] == ["select=x&"]


def test_a_mark_that_is_not_found_again_makes_no_pattern() -> None:
    assert slotted(Ask(where=Compare("id", "eq", "\x000")), 2) is None
