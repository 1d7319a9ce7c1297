"""What the process of a job tells of an error that nobody foresaw."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BROKEN = """
import sys
from tongqu.app import job
from tongqu.store.scrub import known

def broken(wire, told):
    known.add("hunter22 of the connection")
    raise ValueError("cannot open hunter22 of the connection")

job._done = broken
sys.exit(job.main())
"""


def test_a_defect_is_told_without_the_secrets_that_only_this_process_knows(tmp_path: Path) -> None:
    told = {"folder": str(tmp_path), "env": "", "files": True, "kind": "run", "subject": "p", "spec": {}}
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], input=json.dumps(told) + "\n", capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    end = json.loads(done.stdout.splitlines()[-1])["end"]
    assert end["problems"][0]["code"] == "internal"
    assert "ValueError: cannot open ***" in end["problems"][0]["message"]
    assert done.returncode == 1
    assert "hunter22" not in done.stdout + done.stderr
