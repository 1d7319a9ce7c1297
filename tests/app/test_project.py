"""A project folder in, a project or every problem with file, line and key out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.app.docs import project_schema
from tongqu.app.project.load import load
from tongqu.app.project.model import SECTIONS
from tongqu.app.project.places import ProblemsError
from tongqu.core.errors import ConfigError, UnknownNameError

GOOD = """\
project: plant-quality
connections:
  qms: {type: postgres, url: "${env:QMS_URL}", timezone: Asia/Shanghai}
  lake: {type: postgres, host: lake, port: "${env:PORT}"}
datasets:
  inspection:
    title: {zh: 检验结果, en: Inspection result}
    key: [lot_no, item_code]
    fields:
      lot_no: {type: string, title: {zh: 批号}, required: true, pattern: "^L[0-9]{8}$"}
      item_code: {type: string}
      inspector: {type: string, class: personal, mask: name}
pipelines:
  inspection_to_lake:
    source: {connection: qms, dataset: inspection_result, as: inspection, mode: incremental, cursor: updated_at}
    steps:
      - rename: {LOT: lot_no}
      - filter: "weight is not null"
      - check: inspection
    sink: {connection: lake, dataset: inspection, write: upsert}
    schedule: "*/5 * * * *"
    limit: {quarantined: 1%}
"""


def project(folder: Path, text: str, **more: str) -> Path:
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    for name, content in more.items():
        (folder / f"{name.replace('__', '.')}.yaml").write_text(content, encoding="utf-8")
    return folder


def problems(folder: Path, env: str = "") -> list[tuple[str, str, str]]:
    with pytest.raises(ProblemsError) as raised:
        load(folder, env)
    assert raised.value.exit_code == 2
    return [(problem.path, problem.message, problem.hint) for problem in raised.value.problems]


def test_a_project(tmp_path: Path) -> None:
    loaded = load(project(tmp_path, GOOD))
    assert loaded.name == "plant-quality"
    assert list(loaded.connections) == ["qms", "lake"]
    assert loaded.dictionary["inspection"].keys == ("lot_no", "item_code")
    assert loaded.dictionary["inspection"].fields["inspector"].class_ == "personal"
    entry = loaded.pipeline("inspection_to_lake")
    assert entry.source is not None
    assert (entry.source.cursor, entry.source.as_) == ("updated_at", "inspection")
    with pytest.raises(UnknownNameError) as raised:
        loaded.pipeline("inspection_to_lak")
    assert raised.value.hint.startswith("did you mean 'inspection_to_lake'?")


def test_files_beside_it_merge_and_the_environment_lies_on_top(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        "connections: {a: {type: postgres, host: one, port: 5433}}\n",
        more="connections:\n  b: {type: postgres, host: two}\n",
        tongqu__prod="connections:\n  a: {host: prod}\n",
    )
    assert load(folder).connections == {
        "a": {"type": "postgres", "host": "one", "port": 5433},
        "b": {"type": "postgres", "host": "two"},
    }
    assert load(folder, "prod").connections["a"] == {"type": "postgres", "host": "prod", "port": 5433}
    with pytest.raises(UnknownNameError, match="there is no environment 'prd'") as raised:
        load(folder, "prd")
    assert "did you mean 'prod'?" in raised.value.hint


def test_a_name_defined_twice_names_both_places(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        "connections:\n  a: {type: postgres}\n",
        more="connections:\n  b: {type: postgres}\n  a: {type: postgres}\n",
    )
    [(path, message, _)] = problems(folder)
    assert path == "more.yaml:3:connections.a"
    assert message == "connections.a is defined twice: in tongqu.yaml:2 and in more.yaml:3"


@pytest.mark.parametrize(
    ("text", "path", "message", "hint"),
    [
        ("conections: {}\n", "tongqu.yaml:1:conections", "unknown section 'conections'", "mean 'connections'"),
        ("project: p\nconnections: [a]\n", "tongqu.yaml:2:connections", "connections is a mapping of names", ""),
        ("a: b: c\n", "tongqu.yaml:1", "not valid YAML", "quote"),
        ("connections:\n  a: {type: postgres}\n  a: {type: postgres}\n", "tongqu.yaml:3", "duplicate key", "keep one"),
        ("project: p\n\tx: 1\n", "tongqu.yaml:2", "not valid YAML", "indent with spaces"),
        ("connections: {a: {type: zzz}}\n", "tongqu.yaml:1:connections.a.type", "unknown connection type", ", sqlite,"),
        (
            "pipelines: {p: {steps: [5]}}\n",
            "tongqu.yaml:1:pipelines.p.steps[0]",
            "must be a mapping, got 5",
            "in order",
        ),
        ("- a\n", "tongqu.yaml:1", "a project file is a mapping of sections", "project: NAME"),
        (
            "connections:\n  a: {type: postgrse}\n",
            "tongqu.yaml:2:connections.a.type",
            "unknown connection type 'postgrse'",
            "did you mean 'postgres'?",
        ),
        (
            "connections:\n  a:\n    type: postgres\n    hots: x\n",
            "tongqu.yaml:4:connections.a.hots",
            "unknown key 'hots'",
            "did you mean 'host'?",
        ),
        (
            "connections:\n  a:\n    type: postgres\n    port: many\n",
            "tongqu.yaml:4:connections.a.port",
            "got 'many'",
            "TCP port.",
        ),
        (
            "connections:\n  a:\n    type: postgres\n    tls: maybe\n",
            "tongqu.yaml:4:connections.a.tls",
            "'maybe' is not one of the values allowed",
            "valid: allow, disable",
        ),
        (
            "connections:\n  a: {type: postgres}\npipelines:\n  p:\n    source: {connection: b}\n"
            "    sink: {connection: a}\n",
            "tongqu.yaml:5:pipelines.p.source.connection",
            "there is no connection 'b'",
            "valid: a",
        ),
        (
            "connections:\n  a: {type: postgres}\npipelines:\n  p:\n    source:\n      connection: a\n"
            "      mode: incremental\n    sink: {connection: a}\n",
            "tongqu.yaml:5:pipelines.p.source",
            "mode incremental needs `cursor`",
            "",
        ),
        (
            "connections:\n  a: {type: postgres}\npipelines:\n  p:\n    source: {connection: a}\n"
            "    sink:\n      connection: a\n      write: upsrt\n",
            "tongqu.yaml:8:pipelines.p.sink.write",
            "write: 'upsrt' is not one of the values allowed",
            "did you mean 'upsert'?",
        ),
        (
            "connections:\n  a: {type: postgres}\npipelines:\n  p:\n    source: {connection: a}\n"
            "    steps:\n      - filtre: x > 1\n    sink: {connection: a}\n",
            "tongqu.yaml:7:pipelines.p.steps[0].filtre",
            "unknown step 'filtre'",
            "did you mean 'filter'?",
        ),
        (
            "connections:\n  a: {type: postgres}\npipelines:\n  p:\n    source: {connection: a, dataset: t}\n"
            "    steps:\n      - {id: x, from: y, filter: a > 1}\n      - {id: y, from: x, filter: a > 2}\n"
            "    sink: {connection: a}\n",
            "tongqu.yaml:7:pipelines.p.steps[0].filter",
            "the steps go in a circle: x → y → x",
            "",
        ),
        (
            "connections:\n  a: {type: postgres}\npipelines:\n  p:\n    source: {connection: a}\n"
            "    sink: {connection: a}\n    limit: {quarantined: some}\n",
            "tongqu.yaml:7:pipelines.p.limit.quarantined",
            "'some' is neither a count nor a share",
            "1%",
        ),
        (
            "datasets:\n  d:\n    fields:\n      a: {type: string, clas: personal}\n",
            "tongqu.yaml:4:datasets.d.fields.a.clas",
            "unknown key 'clas'",
            "did you mean 'class'?",
        ),
    ],
)
def test_every_problem_says_where_what_and_what_next(
    tmp_path: Path, text: str, path: str, message: str, hint: str
) -> None:
    [(found_path, found_message, found_hint), *_] = problems(project(tmp_path, text))
    assert found_path == path
    assert message in found_message
    assert hint in found_hint


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    text = "connections:\n  a: {type: postgres, hots: x, port: 0}\n  b: {type: nope}\n"
    assert len(problems(project(tmp_path, text))) == 3


def test_sections_of_later_versions_are_noted(tmp_path: Path) -> None:
    loaded = load(project(tmp_path, "project: p\ntargets:\n  x: {stage: go_live}\n"))
    [note] = loaded.notes
    assert (note["path"], note["level"], note["code"]) == ("tongqu.yaml:2:targets", "info", "project.not_run")


def test_a_password_in_a_file_is_a_warning(tmp_path: Path) -> None:
    loaded = load(project(tmp_path, "connections:\n  a: {type: postgres, password: hunter2hunter2}\n"))
    [note] = loaded.notes
    assert (note["path"], note["level"]) == ("tongqu.yaml:2:connections.a.password", "warning")
    assert "hunter2" not in str(note)


def test_the_schema_for_editors_knows_every_section() -> None:
    schema = project_schema()
    assert set(schema["properties"]) == set(SECTIONS)
    assert schema["$defs"]["step_join"]["properties"]["join"]["properties"]["on"]["anyOf"][1] == {"type": "string"}


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no tongqu\.yaml in"):
        load(tmp_path)
