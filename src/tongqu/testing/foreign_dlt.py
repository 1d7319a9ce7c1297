"""Stands for the Python of an environment in which dlt is installed: answers the runner's requests without dlt."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Describe or give one resource, `items`, with a state that counts."""
    request = json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8"))
    if request["verb"] == "discover":
        one = {"name": "items", "key": ["id"], "incremental": True, "types": {"at": "timestamptz"}}
        _say({"type": "CATALOG", "streams": [one]})
        return
    after = request["state"]["dlt"] if request["state"] else 0
    rows = int(request["arguments"].get("rows", 3))
    for number in range(after + 1, rows + 1):
        row = {"id": number, "at": "2026-01-02T03:04:05Z"}
        _say({"type": "RECORD", "stream": "items", "record": row})
    _say({"type": "STATE", "value": {"dlt": rows}})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main()
