"""Renamed columns are followed in an index's definition, and only there where they are names."""

from __future__ import annotations

import pytest

from tongqu.kit.sql.renaming import renamed_in


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("USING btree (v)", 'USING btree ("new")'),
        ("USING btree (lower(v), vv) WHERE (v <> 'v')", 'USING btree (lower("new"), vv) WHERE ("new" <> \'v\')'),
        ('(  "v"  , "V")', '(  "new"  , "V")'),
    ],
)
def test_names_are_replaced(sql: str, expected: str) -> None:
    assert renamed_in(sql, {"v": "new"}) == expected
