"""What a step does to cells while their rows go on: repairs that are kept on record, and what Arrow steps hand back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from tongqu.core.operator import Fault


@dataclass(frozen=True)
class Repair:
    """One way a cell is changed by rule: for rows where `condition` is true (never null) the output column `field`
    holds another value than the input column of that name. The row goes on; its original is kept."""

    code: str
    field: str
    condition: exp.Expr
    message: str
    """Why, after "`field` = `old` became `new`: ": `is above 500`."""


@dataclass(frozen=True)
class Treated:
    """What an Arrow step made of a chunk.

    With `codes` there is one row for each input row, in order, and a code for each: 0, or the number in `faults` for
    which the input row goes to quarantine (what the row holds then does not matter). Without, the number of rows may
    be another.
    """

    rows: pa.Table
    codes: pa.Array[Any] | None = None
    faults: Mapping[int, Fault] = field(default_factory=dict)
