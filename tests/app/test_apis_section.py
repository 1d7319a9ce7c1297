"""What may stand under `apis:` and `gateway:`, and how what is wrong there is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.app.project.apis import address
from tongqu.app.project.load import Project, load
from tongqu.app.project.places import ProblemsError

HEAD = """project: p
connections:
  lake: {type: sqlite, path: lake.db}
  mail: {type: rest, base_url: "https://mes.example/api"}
datasets:
  orders: {key: id, fields: {id: {type: int64}}}
apis:
"""
SOURCE = "source: {connection: lake, dataset: orders}"


def loaded(folder: Path, text: str) -> Project:
    (folder / "tongqu.yaml").write_text(HEAD + text, encoding="utf-8")
    return load(folder)


def test_versions_of_an_api_share_its_name(tmp_path: Path) -> None:
    text = f"""  orders: {{{SOURCE}, deprecated: "2027-01-01", sunset: "2027-06-30", successor: v2}}
  orders_v2: {{name: orders, version: v2, {SOURCE}}}
"""
    entries = loaded(tmp_path, text).apis
    assert [address(name, entry) for name, entry in entries.items()] == [("v1", "orders"), ("v2", "orders")]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("  x: {}", "tongqu.yaml:8:apis.x.source", "missing key 'source'"),
        (f"  x: {{{SOURCE}, acces: 1}}", "tongqu.yaml:8:apis.x.acces", "unknown key"),
        ("  x: {source: {connection: leak, dataset: a}}", "tongqu.yaml:8:apis.x.source.connection", "no connection"),
        ("  x: {source: {connection: lake, dataset: a, as: b}}", "tongqu.yaml:8:apis.x.source.as", "dictionary 'b'"),
        ("  x: {source: {connection: lake}}", "tongqu.yaml:8:apis.x.source", "one of them"),
        (f"  x: {{version: '1', {SOURCE}}}", "tongqu.yaml:8:apis.x.version", "v1, v2"),
        (f"  订单: {{{SOURCE}}}", "tongqu.yaml:8:apis.订单", "does not fit"),
        (f"  x: {{{SOURCE}}}\n  y: {{name: x, {SOURCE}}}", "tongqu.yaml:9:apis.y", "published twice"),
        (
            f"  x: {{{SOURCE}, relations: {{r: {{api: y, on: {{a: b}}}}}}}}",
            "apis.x.relations.r.api",
            "of version v1 'y'",
        ),
        (f"  x: {{{SOURCE}, relations: {{r: {{api: x, on: {{}}}}}}}}", "apis.x.relations.r.on", "belong together"),
        (f"  x: {{{SOURCE}, sunset: soon}}", "tongqu.yaml:8:apis.x.sunset", "no date"),
        (f"  x: {{{SOURCE}, deprecated: '2027-02-01', sunset: '2027-01-01'}}", "apis.x.sunset", "before"),
        (f"  x: {{{SOURCE}, successor: v2}}", "tongqu.yaml:8:apis.x.successor", "version of this API 'v2'"),
        (f"  x: {{{SOURCE}, fields: [id], access: {{fields: {{ix: {{}}}}}}}}", "apis.x.access.fields.ix", "'ix'"),
        ("  x: {source: {connection: lake, query: SELECT 1}, write: {insert: true}}", "apis.x.write", "query"),
        (
            f"  x: {{{SOURCE}}}\ngateway: {{limits: {{adress: 1}}}}",
            "tongqu.yaml:9:gateway.limits.adress",
            "unknown key",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, path: str, message: str) -> None:
    with pytest.raises(ProblemsError) as refused:
        loaded(tmp_path, text)
    problem = refused.value.problems[0]
    assert path in problem.path
    assert message in problem.message


def test_a_connection_that_cannot_answer_callers_is_a_warning(tmp_path: Path) -> None:
    project = loaded(tmp_path, "  x: {source: {connection: mail, dataset: a}}")
    [note] = project.notes
    assert (note["level"], note["path"]) == ("warning", "tongqu.yaml:8:apis.x.source.connection")
    assert "sqlite" in note["hint"]
