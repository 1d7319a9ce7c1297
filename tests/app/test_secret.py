"""The command `secret`: values come in by stdin, and no answer ever holds one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tongqu.app.project.load import load
from tongqu.store.scrub import known
from tongqu.testing.command_line import Done, environment, inside, make, query

VALUE = "hunter2-of-the-plant"


def secret(folder: Path, *arguments: str, stdin: str = "", **environ: str) -> Done:
    command = [sys.executable, "-m", "tongqu", "secret", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **environ),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert VALUE not in done.stdout + done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_secret_is_kept_used_and_its_use_is_written_down(tmp_path: Path) -> None:
    make(tmp_path / "plant.db", "t", "id INTEGER PRIMARY KEY", [(1,)])
    assert secret(tmp_path, "set", "url", stdin="sqlite:plant.db").code == 2  # there is no store yet
    made = secret(tmp_path, "init", "--json").document
    assert (made["made"], made["algorithm"], made["source"]) == (True, "aes-256-gcm", "file")
    assert secret(tmp_path, "set", "url", "--json", stdin="sqlite:plant.db\n").document["version"] == 1
    assert inside(tmp_path, "sync", "${secret:url}", "sqlite:copy.db", "--json").code == 0
    assert query(tmp_path / "copy.db", "SELECT id FROM t") == [(1,)]
    [use] = inside(tmp_path, "secret", "usage", "url", "--json").document["uses"]
    run = inside(tmp_path, "runs", "list", "--json").document["runs"][0]["run"]
    assert (use["kind"], use["command"], use["run"]) == ("secret", "sync", run)
    [held] = inside(tmp_path, "secret", "list", "--json").document["secrets"]
    assert (held["name"], held["kind"], held["used"]) == ("url", "sealed", use["at"])
    assert inside(tmp_path, "secret", "remove", "url").code == 0
    assert inside(tmp_path, "secret", "remove", "url", "--json").document["problems"][0]["code"] == "config.secret"


def test_keys_change_to_gm_and_everything_still_opens(tmp_path: Path) -> None:
    secret(tmp_path, "init")
    secret(tmp_path, "set", "mes", stdin=VALUE)
    refused = inside(tmp_path, "secret", "init", "--profile", "gm", "--json")
    assert refused.document["problems"][0]["hint"] == "tongqu secret rotate --profile gm"
    done = inside(tmp_path, "secret", "rotate", "--profile", "gm", "--json").document
    assert (done["resealed"], done["rewrapped"], len(done["retired"])) == (1, 1, 2)
    checked = inside(tmp_path, "secret", "check", "--json").document
    assert (checked["ok"], checked["secrets"], checked["algorithm"]) == (True, 1, "sm4-gcm")


def test_plain_files_are_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "secrets"
    folder.mkdir(parents=True)
    for name in ("mes", "erp"):
        (folder / name).write_text(f"{VALUE}-{name}\n", encoding="utf-8")
        (folder / name).chmod(0o600)
    secret(tmp_path, "init")
    secret(tmp_path, "set", "erp", stdin="another value")
    done = secret(tmp_path, "import", "--delete", "--json")
    assert (done.code, done.document) == (3, {"imported": ["mes"], "kept": ["erp"], "deleted": True})
    assert [file.name for file in folder.iterdir()] == ["erp"]
    assert secret(tmp_path, "check").code == 3  # a plain file is left


def test_check_tells_what_does_not_open_and_who_could_read(tmp_path: Path) -> None:
    secret(tmp_path, "init")
    for name in ("mes", "erp"):
        secret(tmp_path, "set", name, stdin=VALUE)
    with sqlite3.connect(tmp_path / "home" / "secrets.db") as database:
        database.execute("UPDATE secrets SET ciphertext = zeroblob(length(ciphertext)) WHERE name = 'erp'")
    database.close()
    (tmp_path / "home" / "secrets.db").chmod(0o644)
    done = secret(tmp_path, "check", "--json")
    paths = [problem["path"] for problem in done.document["problems"]]
    assert (done.code, done.document["secrets"], paths) == (1, 1, [str(tmp_path / "home" / "secrets.db"), "erp"])


def test_a_password_deep_in_the_file_is_noted_and_hidden(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(
        "connections:\n"
        "  a: {type: rest, base_url: 'https://a/api', auth: {basic: {user: u, password: deep-in-the-file}}}\n"
        "  b: {type: rest, base_url: 'https://a/api', auth: {bearer: short-form-of-it}}\n"
        "  c: {type: rest, base_url: 'https://a/api', headers: {X-Api-Key: 'stands-in-header'}}\n",
        encoding="utf-8",
    )
    notes = load(tmp_path).notes
    assert [note["path"].partition("connections.")[2] for note in notes] == [
        "a.auth.basic.password", "b.auth.bearer", "c.headers.X-Api-Key",
    ]  # fmt: skip
    assert known.text("deep-in-the-file short-form-of-it stands-in-header") == "*** *** ***"


@pytest.mark.parametrize("auth", ["just-a-secret-token", "{basic: {user: u, password: 90210421}}"])
def test_a_secret_of_the_wrong_shape_is_not_repeated(tmp_path: Path, auth: str) -> None:
    project = f"connections:\n  a: {{type: rest, base_url: 'https://a/api', auth: {auth}}}\n"
    (tmp_path / "tongqu.yaml").write_text(project, encoding="utf-8")
    done = inside(tmp_path, "check", "--json")
    assert done.code == 2
    assert "just-a-secret" not in done.out + done.err
    assert "90210421" not in done.out + done.err
