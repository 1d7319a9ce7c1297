"""What a trigger raises is a refused row, whatever system and driver says so."""

from __future__ import annotations

import pytest

from tongqu.core.errors import RefusedRowsError, WriteError
from tongqu.kit.tables.dialects import dialect
from tongqu.kit.tables.failing import by_state


@pytest.mark.parametrize("state", ["45000", "P0001", "23514", "22003", "44000"])
def test_states_by_which_a_row_is_refused(state: str) -> None:
    assert type(by_state(state, "no", "there", reading=False)) is RefusedRowsError


@pytest.mark.parametrize(
    ("name", "state", "text"),
    [("tsql", "42000", "weight is negative (50001) (SQLExecDirectW)"), ("tsql", "S0001", "weight is negative (60000)"),
     ("oracle", "72000", "ORA-20001: weight is negative\nORA-06512: at \"PLANT.GUARD\", line 3")],
)  # fmt: skip
def test_what_triggers_raise_themselves(name: str, state: str, text: str) -> None:
    assert dialect(name).meaning(state, text) is RefusedRowsError


@pytest.mark.parametrize(
    ("name", "text"),
    [("tsql", "Incorrect syntax near 'x'. (102) (SQLExecDirectW)"), ("tsql", "the value (99999) is odd"),
     ("oracle", "ORA-02000: missing keyword"), ("oracle", "ORA-200001")],
)  # fmt: skip
def test_what_is_no_refusal_of_a_trigger(name: str, text: str) -> None:
    assert dialect(name).meaning("42000", text) is None
    assert type(by_state("42000", text, "there", reading=False)) is WriteError
