"""What the READMEs tell a newcomer to type runs, in both languages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", READMES)
def test_the_commands_of_the_readme_run(name: str, tmp_path: Path) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    (project,) = blocks(text, "yaml")
    (tmp_path / "tongqu.yaml").write_text(project, encoding="utf-8")
    here = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "TONGQU_HOME": str(tmp_path / "home")}
    script = "set -e\n" + "".join(blocks(text, "sh"))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "check.required" in done.stdout


def test_both_readmes_show_the_same_code() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in READMES]
    without_comments = [re.sub(r"#.*", "", "".join(blocks(t, "yaml") + blocks(t, "sh"))) for t in texts]
    assert without_comments[0] == without_comments[1]
