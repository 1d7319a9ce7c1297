"""Every YAML example on an operator's reference page is a step that parses, and says its verb."""

from __future__ import annotations

import re
from io import StringIO
from textwrap import dedent
from typing import Any

import pytest
from ruamel.yaml import YAML

from tongqu.core.operator import operator, parse_step, verbs

EXAMPLES = {
    verb: dedent(found.group(1))
    for verb in verbs()
    if (found := re.search(r"```yaml\n(.*?)```", operator(verb).__doc__ or "", re.DOTALL))
}


@pytest.mark.parametrize("verb", EXAMPLES)
def test_example_parses(verb: str) -> None:
    steps: list[dict[str, Any]] = YAML(typ="safe").load(StringIO(EXAMPLES[verb]))
    for number, step in enumerate(steps):
        assert parse_step(step, f"steps[{number}]").verb == verb


def test_operators_that_shape_have_examples() -> None:
    assert set(EXAMPLES) >= {
        "compare", "lookup", "parse", "pivot", "sort", "split_columns", "split_rows", "to_json", "union", "unpivot",
        "window",
    }  # fmt: skip
