"""A Singer target that merges records by key into a file; it can be told to fail, to lose or to forget the state."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Read messages from stdin; the file `into` holds the rows afterwards."""
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text(encoding="utf-8"))
    place = Path(config["into"])
    rows: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else []
    key: list[str] = []
    state = None
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "SCHEMA":
            key = message["key_properties"]
        elif message["type"] == "RECORD":
            new = message["record"]
            rows = [one for one in rows if not key or [one[k] for k in key] != [new[k] for k in key]] + [new]
        elif message["type"] == "STATE":
            state = message["value"]
    if config.get("behaviour") == "fail":
        sys.stderr.write("the disk is full\n")
        sys.exit(1)
    if rows:
        place.write_text(json.dumps(rows), encoding="utf-8")
    if config.get("behaviour") == "lose":
        state = {"another": "state"}
    if state is not None and config.get("behaviour") != "forget":
        sys.stdout.write(json.dumps(state) + "\n")


if __name__ == "__main__":
    main()
