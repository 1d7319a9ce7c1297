"""`undo`: puts back the generation that the last replace of a table replaced, and writes that down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tongqu.app.services.ends import End
from tongqu.app.services.execution import Recorder
from tongqu.core.errors import TongquError
from tongqu.store.scrub import Scrubber


def undo(end: End, tables: Sequence[str], recorder: Recorder, scrubber: Scrubber, id: str) -> dict[str, Any]:
    """Undo the last replace of each table, one after the other, recorded as the run `id`.

    Returns `ok` and per table its `name` and the `rows` that are visible now. An error leaves the tables after it
    untouched; its hint names those before it, which were put back.
    """
    done: list[dict[str, Any]] = []
    document: dict[str, Any] = {"status": "failed", "problems": []}
    try:
        sink = end.sink()
        try:
            for name in dict.fromkeys(tables):
                done.append({"name": name, "rows": sink.undo(name)})
        finally:
            sink.close()
        document = {"status": "succeeded"}
    except TongquError as error:
        if done:
            before = f"already put back: {', '.join(table['name'] for table in done)}"
            error.hint = f"{error.hint}; {before}" if error.hint else before
        document["problems"] = [scrubber.problem(error.problem())]
        raise
    finally:
        recorder.finish(id, {**document, "tables": done})
    return {"ok": True, "tables": done}
