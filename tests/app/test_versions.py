"""`plan`, `apply`, `pull`, `promote`, `versions`: a change is seen before it counts, signed, and can be taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tongqu.testing.command_line import Done, make, query, tongqu

PROJECT = """\
project: shop   # the name of the shop
connections:
  crm: {type: sqlite, path: crm.db}  # where orders begin
  lake: {type: sqlite, path: lake.db}
  far: {url: "postgresql://reader:hunter22secret@127.0.0.1:1/none"}
environments:
  test: {}
  production: {approval: true, after: test}
datasets:
  orders:
    key: [id]
    fields:
      id: {type: int32}  # a number
pipelines:
  load:
    source: {connection: crm, dataset: orders}
    sink: {connection: lake}
  copy:
    source: {connection: lake, dataset: orders}
    sink: {connection: lake, dataset: again, write: upsert}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with three orders, two environments, and a lake that is there."""
    make(tmp_path / "crm.db", "orders", "id INTEGER PRIMARY KEY, name TEXT", [(1, "a"), (2, "b"), (3, "c")])
    make(tmp_path / "lake.db", "orders", "id INTEGER PRIMARY KEY", [(1,)])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "tongqu.test.yaml").write_text("connections: {lake: {path: test.db}}\n", encoding="utf-8")
    (tmp_path / "tongqu.production.yaml").write_text("connections: {lake: {path: production.db}}\n", encoding="utf-8")
    return tmp_path


def call(folder: Path, *arguments: str, **environ: str) -> Done:
    return tongqu(folder, *arguments, "--json", **environ)


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "tongqu.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_plan_shows_tables_and_statements_and_changes_nothing(folder: Path) -> None:
    """The new table with the statement that makes it, the rows that come, and the table that is replaced."""
    done = call(folder, "plan")

    assert done.code == 0, done.err
    document = done.document
    assert document["version"] == 0
    assert {change["action"] for change in document["changes"]} == {"create"}
    load, copy = document["targets"]
    assert (load["dataset"], load["action"], load["rows"], load["replaces"]) == ("orders", "alter", 3, 1)
    assert load["statements"] == ['ALTER TABLE "orders" ADD COLUMN "name" TEXT']
    assert (copy["dataset"], copy["action"]) == ("again", "create")
    assert copy["statements"][0].startswith('CREATE TABLE "again"')
    assert {name for (name,) in query(folder / "lake.db", "SELECT name FROM sqlite_master")} == {"orders"}
    assert call(folder, "plan", "--detailed-exit-code").code == 3


def test_a_system_that_cannot_be_reached_is_a_note(folder: Path) -> None:
    """A plan goes on without it and says so; the password in its URL is nowhere."""
    edit(folder, "source: {connection: crm,", "source: {connection: far,")

    done = call(folder, "plan")

    assert done.code == 0
    assert any(note["path"] == "pipelines.load" or "127.0.0.1" in note["message"] for note in done.document["notes"])
    assert [target["pipeline"] for target in done.document["targets"]] == ["copy"]
    assert "hunter22" not in done.out + done.err
    assert call(folder, "plan", "--offline").document["targets"] == []


def test_apply_makes_versions_with_who_and_why_and_the_impact(folder: Path) -> None:
    """The history tells who changed what for which reason, and whom it reached."""
    call(folder, "apply", "--reason", "first", TONGQU_ACTOR="wang")
    edit(folder, "type: int32", "type: int16")

    done = call(folder, "apply", "--reason", "small numbers", TONGQU_ACTOR="li")

    assert done.code == 0, done.err
    assert (done.document["version"], done.document["parent"], done.document["actor"]) == (2, 1, "li")
    (change,) = done.document["changes"]
    assert (change["resource"], change["breaking"], change["affects"]) == (
        "datasets.orders", True, ["pipelines.copy", "pipelines.load"],
    )  # fmt: skip
    listed = call(folder, "versions", "list").document
    assert [(v["version"], v["actor"], v["reason"]) for v in listed["versions"]] == [
        (2, "li", "small numbers"),
        (1, "wang", "first"),
    ]
    assert call(folder, "versions", "diff", "1", "2").document["changes"] == [change]
    assert call(folder, "plan").document["changes"] == []
    assert call(folder, "apply").document["changes"] == []
    assert "hunter22" not in (folder / "home" / "versions.db").read_bytes().decode("latin-1")


def test_a_stale_parent_is_refused(folder: Path) -> None:
    """Somebody who planned against version 1 cannot overwrite version 2."""
    call(folder, "apply")
    edit(folder, "type: int32", "type: int64")
    call(folder, "apply")
    edit(folder, "type: int64", "type: string")

    done = call(folder, "apply", "--parent", "1")

    assert done.code == 1
    assert done.document["problems"][0]["code"] == "run.stale_version"
    assert call(folder, "versions", "list").document["head"] == 2


def test_of_two_at_the_same_time_one_is_told_to_look_again(folder: Path) -> None:
    """Two people apply different files on top of the same version: one counts, the other is refused or comes after."""
    call(folder, "apply")
    with ThreadPoolExecutor(2) as pool:
        edit(folder, "type: int32", "type: int64")
        codes = list(pool.map(lambda _: call(folder, "apply", "--parent", "1").code, range(2)))

    assert sorted(codes) == [0, 1]
    assert len(call(folder, "versions", "list").document["versions"]) == 2


def test_undo_and_pull_bring_an_earlier_version_back_with_comments_kept(folder: Path) -> None:
    """The undo is a version of its own; pull writes it into the files, and secrets of the files stay there."""
    call(folder, "apply")
    edit(folder, "id: {type: int32}", "id: {type: int64, min: 0}")
    edit(folder, "write: upsert", "write: append")
    call(folder, "apply")

    undone = call(folder, "versions", "undo", "--reason", "too early")
    pulled = call(folder, "pull")

    assert (undone.document["version"], undone.document["kind"], undone.document["origin"]) == (3, "undo", "1")
    assert pulled.document["files"] == ["tongqu.yaml"]
    text = (folder / "tongqu.yaml").read_text(encoding="utf-8")
    assert text.replace(" ", "") == PROJECT.replace(" ", "")
    assert call(folder, "plan").document["changes"] == []


def test_pull_does_not_drop_work_that_was_never_applied(folder: Path) -> None:
    """Files with changes of their own are kept unless forced."""
    call(folder, "apply")
    edit(folder, "type: int32", "type: int64")

    refused = call(folder, "pull")
    forced = call(folder, "pull", "--force")

    assert (refused.code, refused.document["problems"][0]["code"]) == (1, "run.stale_version")
    assert forced.document["files"] == ["tongqu.yaml"]
    assert "type: int32" in (folder / "tongqu.yaml").read_text(encoding="utf-8")


def test_production_takes_what_was_tested_when_a_second_person_agrees(folder: Path) -> None:
    """Promotion shows the difference, waits for approval, and keeps production's own connections."""
    assert call(folder, "apply", "--env", "production").code == 2
    call(folder, "apply", "--env", "test", TONGQU_ACTOR="wang")

    shown = call(folder, "promote", "test", "production", "--dry-run")
    proposed = call(folder, "promote", "test", "production", TONGQU_ACTOR="wang")
    own = call(folder, "versions", "approve", "1", "--env", "production", TONGQU_ACTOR="wang")
    before = call(folder, "versions", "list", "--env", "production").document["head"]
    approved = call(folder, "versions", "approve", "1", "--env", "production", TONGQU_ACTOR="li")

    assert any(change["resource"] == "connections.lake" for change in shown.document["changes"])
    assert proposed.document["state"] == "proposed"
    assert (own.code, own.document["problems"][0]["code"], before) == (1, "access", 0)
    assert (approved.document["state"], approved.document["approver"]) == ("applied", "li")
    stored = call(folder, "versions", "show", "1", "--env", "production").document
    assert stored["overlay"] == {"connections": {"lake": {"path": "production.db"}}}
    assert stored["origin"] == "test:1"


def test_taking_the_approval_away_needs_the_approval(folder: Path) -> None:
    """The rule that counts is the one in force, not the one in the files that want to change it."""
    call(folder, "apply", "--env", "test")
    call(folder, "promote", "test", "production", TONGQU_ACTOR="wang")
    call(folder, "versions", "approve", "1", "--env", "production", TONGQU_ACTOR="li")
    edit(folder, "approval: true, ", "")
    call(folder, "apply", "--env", "test")

    done = call(folder, "promote", "test", "production", TONGQU_ACTOR="wang")

    assert done.document["state"] == "proposed"


def test_what_is_not_there_is_named(folder: Path) -> None:
    """A version that was never made, an undo of the first, an environment without version."""
    call(folder, "apply")

    assert call(folder, "versions", "show", "7").document["problems"][0]["code"] == "connector.not_found"
    assert call(folder, "versions", "undo").code == 1
    assert call(folder, "promote", "test", "production").code == 1
    assert call(folder, "pull", "--version", "9").code == 1


def test_a_changed_field_names_every_pipeline_that_must_follow(folder: Path) -> None:
    """Ten pipelines read the dataset whose field is renamed: each follows by itself, or is named with the place."""
    extra = "".join(
        f"  p{n}:\n    source: {{connection: crm, dataset: orders}}\n    steps: [{{{step}}}]\n"
        f"    sink: {{connection: lake, dataset: t{n}}}\n"
        for n, step in enumerate(
            ["filter: \"name = 'a'\"", 'filter: "id > 1"', "rename: {name: title}", 'derive: {twice: "id * 2"}',
             "drop: [name]", "select: [id]", 'derive: {shout: "upper(name)"}', "check: {name: {required: true}}"]
        )
    )  # fmt: skip
    edit(folder, "  id: {type: int32}  # a number\n", "  id: {type: int32}\n      name: {type: string}\n")
    file = folder / "tongqu.yaml"
    file.write_text(file.read_text(encoding="utf-8") + extra, encoding="utf-8")
    call(folder, "apply")
    edit(folder, "      name: {type: string}\n", "      title: {type: string, renamed_from: name}\n")

    found = call(folder, "plan").document["impacts"]

    breaking = {line["resource"] for line in found if line["verdict"] == "breaks"}
    assert {line["resource"] for line in found} == {
        f"pipelines.{n}" for n in ("load", "copy", *(f"p{i}" for i in range(8)))
    }
    assert breaking == {f"pipelines.p{n}" for n in (0, 2, 4, 6, 7)}
    assert all(".steps[0]" in line["path"] for line in found if line["verdict"] == "breaks")


def test_a_changed_python_file_is_a_changed_project(folder: Path) -> None:
    """What a step runs belongs to the version: the plan names the file and who uses it."""
    (folder / "clean.py").write_text("def clean(rows):\n    return rows\n", encoding="utf-8")
    step = "    steps: [{python: {file: clean.py, function: clean}}]\n"
    edit(
        folder,
        "    source: {connection: crm, dataset: orders}\n",
        f"    source: {{connection: crm, dataset: orders}}\n{step}",
    )
    call(folder, "apply")
    (folder / "clean.py").write_text("def clean(rows):\n    return rows.slice(1)\n", encoding="utf-8")

    (change,) = call(folder, "plan", "--offline").document["changes"]
    applied = call(folder, "apply").document["version"]
    pulled = call(folder, "pull", "--version", "1").document

    assert (change["resource"], change["action"]) == ("files.clean.py", "update")
    assert set(change["affects"]) == {"pipelines.load", "pipelines.copy"}
    assert (applied, pulled["not_pulled"]) == (2, ["clean.py"])


def test_an_environment_needs_no_overlay_if_it_is_declared(folder: Path) -> None:
    """`test: {}` is enough; a name that is neither declared nor has a file is refused with the known ones."""
    (folder / "tongqu.test.yaml").unlink()

    assert call(folder, "apply", "--env", "test").document["state"] == "applied"
    refused = call(folder, "plan", "--env", "tset", "--offline")
    assert (refused.code, "test" in refused.document["problems"][0]["hint"]) == (2, True)
