"""Runs a dlt source and writes its pages as Singer messages; executed by the Python of the package's own environment.

Started as `python -I runner.py REQUEST.json`; needs `dlt` and the standard library.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, BinaryIO

_STATE = "dlt"


def main(request_file: str) -> None:
    """Answer one request: `discover`, or `read` of one resource."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what the source prints is no message
        with redirect_stdout(sys.stderr):
            source = _source(request)
            if request["verb"] == "discover":
                _write(out, {"type": "CATALOG", "streams": list(_described(source))})
            else:
                _read(source, request, out)


def _source(request: dict[str, Any]) -> Any:
    """The source that the function makes; a single resource becomes a source of it."""
    import dlt

    for name, value in request["credentials"].items():
        dlt.secrets[name] = value
    if request["files"]:
        sys.path.insert(0, request["files"])
    module, _, function = request["source"].partition(":")
    made = getattr(importlib.import_module(module), function)(**request["arguments"])
    if hasattr(made, "resources"):
        return made
    return dlt.source(lambda: made, name="tongqu")()


def _described(source: Any) -> Iterator[dict[str, Any]]:
    for name, resource in source.selected_resources.items():
        columns = resource.compute_table_schema().get("columns", {})
        yield {
            "name": name,
            "key": [column for column, hints in columns.items() if hints.get("primary_key")],
            "incremental": resource.incremental is not None,
            "types": {column: _type(hints) for column, hints in columns.items() if hints.get("data_type")},
        }


def _type(hints: dict[str, Any]) -> str:
    kind = hints["data_type"]
    if kind == "timestamp":
        return "timestamp" if hints.get("timezone") is False else "timestamptz"
    if kind == "decimal" and hints.get("precision"):
        return f"decimal({hints['precision']},{hints.get('scale') or 0})"
    names = {"double": "double", "bool": "bool", "bigint": "int64", "binary": "binary", "json": "json"}
    return names.get(kind, kind if kind in ("date", "time") else "string")


def _read(source: Any, request: dict[str, Any], out: BinaryIO) -> None:
    from dlt.common import json as typed
    from dlt.common.configuration.container import Container
    from dlt.common.pipeline import StateInjectableContext

    stream = request["stream"]
    held = request["state"]
    state = typed.typed_loads(held[_STATE]) if held else {}
    head = b'{"type":"RECORD","stream":%b,"record":' % json.dumps(stream).encode()
    with Container().injectable_context(StateInjectableContext(state=state)):
        for page in source.with_resources(stream):
            out.write(b"".join(b"%b%b}\n" % (head, typed.dumpb(record)) for record in _records(page)))
            out.flush()
    _write(out, {"type": "STATE", "value": {_STATE: typed.typed_dumps(state)}})


def _records(page: Any) -> Iterable[Any]:
    """The records of what a resource yields: a record, a list of them, or a table."""
    if isinstance(page, dict):
        return [page]
    if hasattr(page, "to_pylist"):
        return page.to_pylist()  # type: ignore[no-any-return]  # a table of pyarrow, which need not be there
    if hasattr(page, "to_dict"):
        return page.to_dict("records")  # type: ignore[no-any-return]  # a frame of pandas, which need not be there
    return page  # type: ignore[no-any-return]  # a list


def _write(out: BinaryIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
