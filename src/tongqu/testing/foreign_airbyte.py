"""A source that speaks Airbyte's protocol, and behaves as its configuration says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "at": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_without_timezone"},
        "of": {"type": ["null", "object"]},
    },
}


def main() -> None:
    """Answer `check`, `discover` or `read`."""
    given = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
    config = _read(given["--config"])
    _say("LOG", log={"level": "INFO", "message": "here I am"})
    if sys.argv[1] == "check":
        _say("CONNECTION_STATUS", connectionStatus={"status": config.get("status", "SUCCEEDED"), "message": "401"})
    elif sys.argv[1] == "discover":
        one = {"json_schema": SCHEMA, "source_defined_primary_key": [["id"]]}
        both = {**one, "supported_sync_modes": ["full_refresh", "incremental"], "default_cursor_field": ["at"]}
        streams = [{"name": "orders", **both}, {"name": "plants", "supported_sync_modes": ["full_refresh"], **one}]
        _say("CATALOG", catalog={"streams": streams})
    else:
        (chosen,) = _read(given["--catalog"])["streams"]
        state = _read(given["--state"]) if "--state" in given else []
        after = state[0]["stream"]["stream_state"]["id"] if state else 0
        _rows(chosen["stream"]["name"], after, int(config.get("rows", 5)))
        if "fails" in config:
            about = {"message": "no such site", "stack_trace": "secret internals", "failure_type": config["fails"]}
            _say("TRACE", trace={"type": "ERROR", "emitted_at": 1, "error": about})
            sys.exit(1)


def _rows(stream: str, after: int, last: int) -> None:
    """The rows, in two ways of writing them, each with its state."""
    for number in range(after + 1, last + 1):
        _say("RECORD", record={"stream": "noise", "data": {"x": 1}, "emitted_at": 1})
        if number % 2:
            row = {"id": number, "at": "2026-01-02T03:04:05", "of": {"a": [number]}}
            _say("RECORD", record={"stream": stream, "data": row, "emitted_at": 1})
        else:
            _say("RECORD", record={"emitted_at": 1, "meta": None, "data": {"id": number, "of": None}, "stream": stream})
        about = {"stream_descriptor": {"name": stream}, "stream_state": {"id": number}}
        _say("STATE", state={"type": "STREAM", "stream": about, "sourceStats": {"recordCount": 1.0}})


def _read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _say(kind: str, **message: Any) -> None:
    sys.stdout.write(json.dumps({"type": kind, **message}) + "\n")


if __name__ == "__main__":
    main()
