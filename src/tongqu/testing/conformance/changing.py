"""A schema that changes between runs: columns go by name, and each mode does what its name says."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tongqu.core.connector import Can
from tongqu.core.data import WriteMode
from tongqu.core.errors import SchemaError
from tongqu.core.schema_changes import Kind, Outcome, SchemaChanges
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place, items


class ChangeChecks:
    """Modes of schema changes."""

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_columns_go_by_name(self, place: Place) -> None:
        place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
        turned = items([2]).select(["v", "id"])
        place.put([turned], place.ask(turned, WriteMode.APPEND, run="run 2"))
        assert place.rows() == [(1, "v1"), (2, "v2")]

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_frozen_refuses_a_new_column(self, place: Place) -> None:
        place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
        asked = place.ask(_wider(), WriteMode.APPEND, run="run 2", schema_changes=SchemaChanges.FREEZE)
        with pytest.raises(SchemaError, match="'more'"):
            place.put([_wider()], asked)
        assert place.rows() == [(1, "v1")]

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_a_new_column_is_left_out_and_counted(self, place: Place) -> None:
        place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
        asked = place.ask(_wider(), WriteMode.APPEND, run="run 2", schema_changes=SchemaChanges.DISCARD_COLUMN)
        assert place.put([_wider()], asked).discarded == 1
        assert place.rows() == [(1, "v1"), (2, "v2"), (3, "v3")]
        assert place.table().schema.names == ["id", "v"]

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_a_row_with_a_value_in_a_new_column_is_set_aside(self, place: Place) -> None:
        place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
        asked = place.ask(_wider(), WriteMode.APPEND, run="run 2", schema_changes=SchemaChanges.DISCARD_ROW)
        assert place.put([_wider()], asked).quarantined == 1
        assert place.rows() == [(1, "v1"), (3, "v3")]
        assert [row["code"] for row in place.quarantined()] == ["schema.column"]

    @needed(Can.READ, Can.WRITE, Can.EVOLVES, Can.APPEND)
    def test_a_sink_says_what_it_did(self, place: Place) -> None:
        place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
        write = place.ask(_wider(), WriteMode.APPEND, run="run 2")
        with place.sink() as sink:
            sink.start(write.sync, write.run, False)
            changes = sink.open(write).changes
        assert [(change.kind, change.column, change.outcome) for change in changes] == [
            (Kind.NEW, "more", Outcome.ADDED)
        ]


def _wider() -> pa.Table:
    """Two rows; the first has a value in a column that was not there."""
    return items([2, 3]).append_column("more", pa.array([7, None], pa.int64()))
