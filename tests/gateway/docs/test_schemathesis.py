"""schemathesis, which we did not write, calls the gateway as its OpenAPI document says, and holds it to that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.gateway.docs import left_out
from tests.gateway.docs.plant import planted

from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.postgres import Postgres

CONFIG = """
[generation]
with-security-parameters = false
deterministic = true
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 416]
"""


def test_the_gateway_does_what_its_document_says(postgres: Postgres, tmp_path: Path) -> None:
    token = planted(tmp_path, postgres.database())
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with Gateway(tmp_path) as gateway:
        told = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run",
             f"{gateway.url}/openapi/v1.json", "-H", f"Authorization: Bearer {token}", "--max-examples", "3",
             "--phases", "examples,coverage,fuzzing", "--no-color",
             "--exclude-method", "HEAD"],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(Path(left_out.__file__))},
        )  # fmt: skip
        assert told.returncode == 0, f"{told.stdout[-6000:]}\n{told.stderr[-2000:]}"
        assert "Traceback" not in gateway.errors
