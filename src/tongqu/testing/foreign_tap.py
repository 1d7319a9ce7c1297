"""A Singer tap that behaves as its configuration says: well, or in one of the ways in which taps go wrong."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "v": {"type": ["null", "string"]},
        "price": {"type": ["null", "number"], "multipleOf": 0.01},
        "at": {"type": ["null", "string"], "format": "date-time"},
        "tags": {"type": ["null", "array"]},
    },
}


def main() -> None:
    """Answer `--discover`, or write the rows `after` the state up to `rows`, with a state every `every` rows."""
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    config = _read(given["--config"])
    behaviour = config.get("behaviour", "")
    if "--discover" in sys.argv:
        entry = {"stream": "items", "tap_stream_id": "items", "schema": SCHEMA, "key_properties": ["id"]}
        _write(
            {"streams": [{**entry, "metadata": [{"breadcrumb": [], "metadata": {"valid-replication-keys": ["id"]}}]}]}
        )
        return
    catalog = _read(given.get("--catalog", given.get("--properties", "")))
    (stream,) = catalog["streams"]
    after = _read(given["--state"])["bookmarks"]["items"]["id"] if "--state" in given else 0
    _complain("token is s3cret-token \x1b[31mred\x1b[0m")
    if "tell" in config:
        about = {
            "environment": dict(os.environ),
            "cwd": str(Path.cwd()),
            "mode": oct(Path(given["--config"]).stat().st_mode),
        }
        Path(config["tell"]).write_text(json.dumps({**about, "after": after, "catalog": stream}), encoding="utf-8")
    _write({"type": "SCHEMA", "stream": "items", "schema": SCHEMA, "key_properties": ["id"]})
    for number in range(after + 1, int(config.get("rows", 10)) + 1):
        _write(_record(number))
        if number % int(config.get("every", 3)) == 0:
            _write({"type": "STATE", "value": {"bookmarks": {"items": {"id": number}}}})
        if number == int(config.get("at", 5)):
            _misbehave(behaviour, config)
    _write({"type": "ACTIVATE_VERSION", "stream": "items", "version": 1})
    _write({"type": "STATE", "value": {"bookmarks": {"items": {"id": int(config.get("rows", 10))}}}})


def _record(number: int) -> dict[str, Any]:
    row = {
        "id": number,
        "v": f'v{number} "}}',
        "price": number / 4,
        "at": "2026-01-02T03:04:05Z",
        "tags": [{"n": number}],
    }
    return {"type": "RECORD", "stream": "items", "record": row, "time_extracted": "2026-01-02T03:04:05Z"}


def _misbehave(behaviour: str, config: dict[str, Any]) -> None:
    if behaviour == "garbage":
        sys.stdout.write("Traceback: what a day\n")
    elif behaviour == "leak":
        sys.stdout.write(f"my token is {config['api_token']}\n")
    elif behaviour == "eat":
        _complain(str(len(bytearray(4 << 30))))
    elif behaviour == "hang":
        sys.stdout.flush()
        if os.fork() == 0:
            os.setsid()
        Path(config["pid"]).write_text(str(os.getpid()), encoding="utf-8")
        time.sleep(600)
    elif behaviour == "babble":
        while True:
            sys.stdout.write("x" * (1 << 20))
    elif behaviour == "fail":
        _complain("\n".join(f"line {n}" for n in range(100_000)))
        _complain("cannot log in with s3cret-token")
        sys.exit(3)
    elif behaviour == "alter":
        wider = {**SCHEMA, "properties": {**SCHEMA["properties"], "more": {"type": "string"}}}  # type: ignore[dict-item]  # a dict of dicts
        _write({"type": "SCHEMA", "stream": "items", "schema": wider, "key_properties": ["id"]})
    elif behaviour == "dirty":
        _write({"type": "RECORD", "stream": "items", "record": {"id": "no number", "v": "x"}})
    elif behaviour == "batch":
        Path("batch.jsonl").write_text(json.dumps(_record(1000)["record"]) + "\n", encoding="utf-8")
        encoding = {"format": "jsonl", "compression": "none"}
        _write(
            {
                "type": "BATCH",
                "stream": "items",
                "encoding": encoding,
                "manifest": [f"file://{Path('batch.jsonl').absolute()}"],
            }
        )
    elif behaviour == "network":
        import socket

        with socket.create_connection(("127.0.0.1", int(config["port"])), timeout=5):
            pass


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")


if __name__ == "__main__":
    main()
