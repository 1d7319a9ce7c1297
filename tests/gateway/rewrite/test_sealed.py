"""Masks that seal a field: cells and tokens are put on after the query, opened only for a purpose, and leak nothing."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from tests.gateway.published import CURSORS, Database, actor, api, people

from tongqu.core.errors import SecretError
from tongqu.gateway.asking import Ask, Compare, Wanted
from tongqu.gateway.etags import Tags
from tongqu.gateway.leaks.suite import leaks
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite import rewrite
from tongqu.meaning.ciphers import decrypted

TABLE = people()
DATABASE = Database("duckdb", "items", TABLE)
KEY = bytes(range(16)).hex().encode()


def seen_through(mask: dict[str, Any], field: str = "inspector", **more: Any) -> tuple[Api, Decision, list[Any]]:
    """The API with a mask on one field, and what a caller sees of the field."""
    access = {"roles": ["r"], "fields": {field: {"mask": {"key": "${secret:k}", **mask}, **more}}}
    one = api(DATABASE, TABLE, access, secret=lambda name: KEY)
    decision = one.policy.decide(actor("r"), "read")
    return (
        one,
        decision,
        [row[0] for row in DATABASE.page(rewrite(Ask((Wanted(field),)), one, decision, CURSORS).query).values],
    )


def opened(cells: list[Any]) -> list[Any]:
    """What the cells hold."""
    values: list[Any] = decrypted(pa.array(cells, pa.string()), {"1": bytes.fromhex(KEY.decode())}).to_pylist()
    return values


def test_tokens_are_equal_for_equal_values_and_can_be_opened() -> None:
    one, decision, found = seen_through({"with": "tokenise"})
    assert found[0] == found[2] != found[1] and found[3] is None
    assert opened(found)[:2] == ["张三丰", "李四"]
    with pytest.raises(Problem):
        rewrite(Ask(where=Compare("inspector", "eq", found[0])), one, decision, CURSORS)


@pytest.mark.parametrize("cipher", ["aes-gcm", "sm4-gcm"])
def test_cells_look_different_each_time_and_can_be_opened(cipher: str) -> None:
    _, _, found = seen_through({"with": "encrypt", "cipher": cipher})
    assert found[0].startswith(f"tq1.{cipher}.1.") and found[0] != found[2] and found[3] is None
    assert opened(found)[:3] == ["张三丰", "李四", "张三丰"]


def test_numbers_are_sealed_as_the_field_has_them() -> None:
    _, _, found = seen_through({"with": "encrypt"}, "weight")
    assert opened(found)[0] == "1.500"


def test_a_sealed_field_is_given_as_it_is_only_for_a_stated_purpose() -> None:
    access = {"roles": ["r"], "fields": {"inspector": {"roles": ["hr"], "mask":
              {"with": "encrypt", "key": "${secret:k}", "purposes": ["payroll"]}}}}  # fmt: skip
    policy = api(DATABASE, TABLE, access, secret=lambda name: KEY).policy
    shown = {
        (roles, purpose): policy.decide(actor("r", *roles, purpose=purpose), "read").fields["inspector"] is None
        for roles in ((), ("hr",)) for purpose in ("", "research", "payroll")
    }  # fmt: skip
    assert [who for who, plain in shown.items() if plain] == [(("hr",), "payroll")]


def test_the_tag_of_a_sealed_row_differs_each_time_and_still_names_the_row() -> None:
    one, decision, _ = seen_through({"with": "encrypt"})
    tags = Tags(b"t" * 32)

    def body() -> bytes:
        made = rewrite(Ask((Wanted("id"), Wanted("inspector"))), one, decision, CURSORS)
        return json.dumps([list(row) for row in DATABASE.page(made.query).values]).encode()

    first, second = body(), body()
    assert tags.tag(first, decision) != tags.tag(second, decision)
    assert tags.unmodified(tags.tag(first, decision), second, decision)
    assert not tags.unmodified(tags.tag(first, decision), second.replace(b"[1,", b"[9,"), decision)


@pytest.mark.parametrize("mask", ["encrypt", "tokenise"])
def test_nothing_leaks_around_a_sealed_field(mask: str) -> None:
    one, _, _ = seen_through({"with": mask})
    assert leaks(one, actor("r", plant="A")) == []


def test_a_key_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(SecretError) as caught:
        api(DATABASE, TABLE, {"roles": ["r"], "fields": {"inspector": {"mask": {"with": "encrypt", "key":
            "${secret:k}"}}}}, secret=lambda name: b"hunter2")  # fmt: skip
    assert "hunter2" not in str(caught.value)
