"""The example of published APIs runs as its README says, line by line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tongqu.testing.command_line import environment
from tongqu.testing.services.gateway import Gateway

EXAMPLE = Path(__file__).parents[2] / "examples" / "published"


def shell(folder: Path, line: str, **environ: str) -> str:
    """What a line of the README prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(folder, PATH=path, **environ), capture_output=True,
        text=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_runs(tmp_path: Path) -> None:
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    found = re.search(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    fill, check, client, _, *calls = found[1].splitlines()
    shell(tmp_path, fill)
    shell(tmp_path, check)
    key = shell(tmp_path, f'{client}\nprintf %s "$KEY"')

    with Gateway(tmp_path) as gateway:
        here = gateway.url.removeprefix("http://")

        def told(line: str, **environ: str) -> Any:
            printed = shell(tmp_path, line.replace("localhost:8700", here), **environ)
            return json.loads(printed) if printed else None

        lines, inspections, order, orders = calls
        assert [row["id"] for row in told(lines)] == [1, 2]
        assert told(inspections, KEY=key) == [
            {"id": 1, "plant": "A", "inspector": "张*丰", "passed": True},
            {"id": 2, "plant": "A", "inspector": "李*", "passed": False},
        ]
        assert told(inspections, KEY="tqk_0_wrong")["code"].startswith("auth.")
        made = [told(order, KEY=key) for _ in range(2)]  # sent twice
        assert made[0] == made[1]
        assert told(orders, KEY=key) == [{"id": 2, "line_id": 1, "pieces": 20}]
        assert told(order.replace("order-2", "order-3"), KEY=key)["code"] == "row.conflict"
