"""A field is changed once: each of ten pipelines on its dataset follows, or is named with the place that breaks."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tongqu.catalog.impact import Affected, DatasetState, FieldState, PipelineUse, impact, state, uses
from tongqu.core.data import Dataset
from tongqu.core.operator import parse_step

FIELDS: list[pa.Field[Any]] = [
    pa.field("lot_no", pa.string(), nullable=False),
    pa.field("weight", pa.decimal128(12, 3)),
    pa.field("plant", pa.string()),
    pa.field("at", pa.timestamp("us")),
]
SCHEMA = pa.schema(FIELDS)
INSPECTION = Dataset("inspection", SCHEMA, key=("lot_no",))
BEFORE = DatasetState("inspection", {f.name: FieldState(f.name, f.type) for f in SCHEMA}, ("lot_no",))

PIPELINES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "as_it_is": ([], {}),
    "frozen": ([], {"schema_changes": "freeze"}),
    "filtered": ([{"filter": "weight > 1"}], {}),
    "filtered_by_another": ([{"filter": "plant = 'A'"}], {}),
    "derived": ([{"derive": {"grams": "weight * 1000"}}], {}),
    "renamed": ([{"rename": {"weight": "mass"}}], {}),
    "dropped": ([{"drop": ["weight"]}], {}),
    "selected_without": ([{"select": ["lot_no", "plant"]}], {}),
    "presence_only": ([{"filter": "weight is not null"}], {}),
    "keyed_by_it": ([], {"key": ("lot_no", "weight"), "write": "upsert"}),
}


def pipelines(changed: dict[str, Any]) -> list[PipelineUse]:
    """The ten, with what their compiled steps do with the changed fields."""
    made = []
    for name, (raw, more) in PIPELINES.items():
        steps = [parse_step(step, f"pipelines.{name}.steps[{at}]") for at, step in enumerate(raw)]
        made.append(PipelineUse(name, "inspection", uses(INSPECTION, steps, changed), **more))
    return made


def verdicts(found: list[Affected]) -> dict[str, str]:
    """By pipeline: `breaks` if any line says so."""
    told: dict[str, str] = {}
    for one in found:
        name = one.resource.removeprefix("pipelines.")
        told[name] = "breaks" if "breaks" in (one.verdict, told.get(name)) else "follows"
    return told


def changed(**fields: FieldState | None) -> DatasetState:
    """The dataset with other or without fields."""
    kept = {name: known for name, known in BEFORE.fields.items() if name not in fields}
    return DatasetState("inspection", kept | {n: f for n, f in fields.items() if f is not None}, BEFORE.key)


def test_a_dropped_field_names_those_who_use_it() -> None:
    found = impact(BEFORE, changed(weight=None), pipelines({"weight": None}))
    assert verdicts(found) == {
        "as_it_is": "follows", "frozen": "breaks", "filtered": "breaks", "filtered_by_another": "follows",
        "derived": "breaks", "renamed": "breaks", "dropped": "breaks", "selected_without": "follows",
        "presence_only": "breaks", "keyed_by_it": "breaks",
    }  # fmt: skip
    by_name = {one.resource: one for one in found if one.verdict == "breaks"}
    assert by_name["pipelines.filtered"].path.startswith("pipelines.filtered.steps[0]")
    assert by_name["pipelines.keyed_by_it"].path.endswith(".key")
    assert [one.verdict for one in found] == sorted((one.verdict for one in found), key=lambda word: word != "breaks")


def test_a_wider_type_is_followed_by_all_but_the_frozen() -> None:
    wider = pa.decimal128(18, 3)
    new = changed(weight=FieldState("weight", wider))
    found = verdicts(impact(BEFORE, new, pipelines({"weight": pa.field("weight", wider)})))
    assert {name for name, verdict in found.items() if verdict == "breaks"} == {"frozen"}
    assert set(found) == set(PIPELINES)


def test_another_type_breaks_those_who_calculate() -> None:
    new = changed(weight=FieldState("weight", pa.bool_()))
    found = verdicts(impact(BEFORE, new, pipelines({"weight": pa.field("weight", pa.bool_())})))
    assert {"derived", "frozen"} <= {name for name, verdict in found.items() if verdict == "breaks"}
    assert found["presence_only"] == found["dropped"] == found["as_it_is"] == "follows"


def test_a_declared_rename_is_one_change() -> None:
    new = changed(weight=None, mass=FieldState("mass", pa.decimal128(12, 3), renamed_from="weight"))
    found = impact(BEFORE, new, pipelines({"weight": None}))
    assert {one.field for one in found} == {"weight"}
    assert verdicts(found)["as_it_is"] == "follows"
    assert verdicts(found)["filtered"] == "breaks"
    assert "renamed" in next(one.reason for one in found if one.resource == "pipelines.as_it_is")


def test_a_new_field_reaches_all() -> None:
    found = verdicts(impact(BEFORE, changed(grade=FieldState("grade", pa.string())), pipelines({})))
    assert {name for name, verdict in found.items() if verdict == "breaks"} == {"frozen"}


def test_a_new_key_breaks_upserts() -> None:
    new = DatasetState("inspection", BEFORE.fields, ("lot_no", "plant"))
    upsert = PipelineUse("merged", "inspection", write="upsert")
    own = PipelineUse("own", "inspection", write="upsert", key=("lot_no",))
    replace = PipelineUse("replaced", "inspection")
    assert verdicts(impact(BEFORE, new, [upsert, own, replace])) == {
        "merged": "breaks", "own": "follows", "replaced": "follows",
    }  # fmt: skip


def test_a_pipeline_on_another_dataset_is_not_asked() -> None:
    assert impact(BEFORE, changed(weight=None), [PipelineUse("other", "orders")]) == []


@pytest.mark.parametrize("key", ["lot_no", ["lot_no"]])
def test_an_entry_of_the_dictionary_is_a_state(key: Any) -> None:
    entry = {"key": key, "fields": {"lot_no": {"type": "string", "required": True}, "w": {"renamed_from": "weight"}}}
    made = state("inspection", entry, {"lot_no": pa.string()})
    assert made.key == ("lot_no",)
    assert made.fields["lot_no"].required
    assert made.fields["w"].renamed_from == "weight"
