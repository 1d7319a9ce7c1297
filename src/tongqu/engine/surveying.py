"""Steps that must know something about all rows before they can treat one: a survey first, then chunk by chunk."""

from __future__ import annotations

from tongqu.core.bad_rows import BadRows
from tongqu.core.balance import StepCounts
from tongqu.core.data import Dataset
from tongqu.core.operator import Step
from tongqu.engine.flow import Engine, Flow, whole_query
from tongqu.engine.segment import Segment
from tongqu.meaning.surveys import survey_query, surveyed

_INPUT = "input0"


def treated(
    engine: Engine, step: Step, datasets: tuple[Dataset, Dataset], rows: Flow, *, counts: StepCounts, bad: BadRows
) -> Flow:
    """The step's rows in the order they came; `datasets` are its input and its output. Counts, refused rows and
    repairs are added to `counts` and `bad`."""
    before, after = datasets
    levels = step.operator.surveys(before)
    seen = surveyed(before, levels)
    segment = Segment([step], [seen, after], seen.columns[len(before.columns) :])
    connection = engine.connection()
    query = survey_query(before, levels, _INPUT)
    for table in whole_query(engine, step, query, {_INPUT: (before, rows)}, seen.schema):
        outcome = segment.run(connection, table)
        counts.add(outcome.steps[0])
        bad.extend(outcome.bad)
        yield outcome.rows
    counts.check()
