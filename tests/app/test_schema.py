"""The JSON Schema for editors accepts what Tongqu accepts: every example, and every whole project in the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tongqu.app.docs import project_schema
from tongqu.operators.clean import Clean

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema_rs.validator_for(project_schema())


def read(text: str) -> Any:
    """As editors see it: dates are texts."""
    return json.loads(json.dumps(YAML(typ="safe").load(text), default=str))


def written() -> Iterator[tuple[str, Any]]:
    for path in sorted((ROOT / "examples").glob("*/tongqu*.yaml")):
        yield str(path.relative_to(ROOT)), read(path.read_text(encoding="utf-8"))
    sections = set(project_schema()["properties"])
    for path in [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        blocks = re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for number, block in enumerate(blocks):
            try:
                found = read(block)
            except YAMLError:  # an outline with `…`
                continue
            if isinstance(found, dict) and set(found) <= sections:
                yield f"{path.relative_to(ROOT)}, block {number}", found


def test_every_project_that_we_show_is_right_by_the_schema(validator: Any) -> None:
    shown = dict(written())
    assert len(shown) > 100
    wrong = {name: [error.message for error in validator.iter_errors(found)] for name, found in shown.items()}
    assert {name: errors for name, errors in wrong.items() if errors} == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "connections: {a: {type: sqlite, pathh: x.db}}",
        "connections: {a: {type: rest, base_url: 'https://a', auth: {bearer: [1]}}}",
        "pipelines: {p: {source: {connection: a}, sink: {connection: b}, steps: [{clean: {name: {txt: trim}}}]}}",
        "pipelines: {p: {source: {conection: a}, sink: {connection: b}}}",
        "apis: {a: {source: {connection: a, dataset: t, key: 1}}}",
    ],
)
def test_what_is_wrong_stays_wrong(wrong: str, validator: Any) -> None:
    assert not validator.is_valid(read(wrong))


def test_settings_of_one_name_are_told_apart() -> None:
    found = project_schema()
    for name, of in (("rest", "path"), ("odata", "path"), ("graphql", "field")):
        datasets = json.dumps(found["$defs"][f"connection_{name}"]["properties"]["datasets"])
        (reference,) = re.findall(r"#/\$defs/(\w+)", datasets)
        assert of in found["$defs"][reference]["properties"], name
    assert "string" in json.dumps(Clean.yaml_schema()["additionalProperties"])
