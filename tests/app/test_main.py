"""The entry point: where options may stand, and what happens with everything that goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tongqu.app import messages
from tongqu.app.cli import main as entry
from tongqu.core.errors import AuthError, UnknownNameError
from tongqu.store.scrub import known
from tongqu.testing.command_line import tongqu


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        ("--json sync a b", "sync --json a b"),
        ("--project p --lang=zh runs --json list", "runs list --project p --lang=zh --json"),
        ("sync a --json b", "sync a --json b"),
        ("quarantine show --json x", "quarantine show --json x"),
        ("--lang zh --help", "--help"),
        ("--help --lang zh", "--help"),
        ("runs --json", "runs"),
        ("quarantine --lang zh --help", "quarantine --help"),
        ("--debug nope", "nope"),
        ("", ""),
    ],
)
def test_common_options_may_stand_before_the_command(given: str, moved: str) -> None:
    assert entry.reordered(given.split()) == moved.split()


class Raises:
    """A command line that fails in a way of its own."""

    def __init__(self, error: BaseException):
        self.error = error

    def main(self, **_: object) -> int:
        raise self.error


def outcome(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, str], str]:
    """Exit code, first problem and stderr when the command raises this error."""
    monkeypatch.setattr(entry, "application", lambda: Raises(error))
    with pytest.raises(SystemExit) as left:
        entry.main(["sync", "--json", *options])
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["ok"] is False
    assert isinstance(left.value.code, int)
    return left.value.code, document["problems"][0], shown.err


def test_an_unexpected_error_is_internal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known.add("correct-horse-battery")
    error = RuntimeError("boom with correct-horse-battery")
    code, problem, err = outcome(error, monkeypatch, capsys, "--lang", "en")
    assert (code, problem["code"], problem["message"]) == (1, "internal", "RuntimeError: boom with ***")
    assert "--debug" in problem["hint"]
    assert "Traceback" not in err
    _, _, err = outcome(error, monkeypatch, capsys, "--debug")
    assert "Traceback" in err
    assert "correct-horse-battery" not in err


def test_deliberate_errors_keep_their_code_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = UnknownNameError("there is no pipeline 'x'", path="tongqu.yaml", hint="valid: y")
    code, problem, err = outcome(config, monkeypatch, capsys, "--lang", "en")
    assert (code, problem) == (2, config.problem())
    assert err.splitlines()[0] == "error: there is no pipeline 'x' [config.unknown_name]"
    code, problem, err = outcome(AuthError("refused"), monkeypatch, capsys, "--lang", "zh")
    assert (code, problem["message"]) == (1, "登录被拒绝：refused")
    assert err.startswith("错误：登录被拒绝：refused")


def test_the_language_is_the_environments() -> None:
    assert messages.detect({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}) == "zh"
    assert messages.detect({"LANG": "zh_TW"}) == "zh"
    assert messages.detect({"LANG": "C"}) == "en"
    assert messages.detect({}) == "en"


def test_drill_lists_the_crash_points(tmp_path: Path) -> None:
    points = tongqu(tmp_path, "drill", "--points", "--json").document["points"]
    assert "before_commit" in {point["name"] for point in points}
    assert tongqu(tmp_path, "drill", "--json").code == 2


def test_no_command_shows_help(tmp_path: Path) -> None:
    done = tongqu(tmp_path)
    assert done.code == 2
    assert "sync" in done.err
    unknown = tongqu(tmp_path, "synk", "--json")
    assert (unknown.code, unknown.document["problems"][0]["code"]) == (2, "usage")
    assert "'sync'" in unknown.document["problems"][0]["message"]


@pytest.mark.parametrize("arguments", [("--lang", "zh", "--help"), ("--help", "--lang", "zh"), ("--json", "--help")])
def test_help_takes_the_common_options(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = tongqu(tmp_path, *arguments)
    assert (done.code, done.err) == (0, "")
    assert ("两个系统之间" in done.out) == ("zh" in arguments) or "sync" in done.out


@pytest.mark.parametrize("arguments", ["--json", "runs --json", "quarantine --json"])
def test_without_a_command_there_is_still_a_document(tmp_path: Path, arguments: str) -> None:
    done = tongqu(tmp_path, *arguments.split())
    assert (done.code, done.document["problems"][0]["message"]) == (2, "a command is missing")


def test_a_demo_that_cannot_be_built(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = tongqu(tmp_path, "demo", "--dir", "file/factory", "--json")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "--dir")
