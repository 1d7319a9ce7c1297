"""`tongqu sync SRC DST`: moves data with no project file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group
from tongqu.app.cli.title import hide_passwords
from tongqu.app.messages import t

app = group()


@command(app, "sync", "command.sync")
def sync(
    call: Call,
    *,
    source: Annotated[str, typer.Argument(metavar="SRC", help=t("sync.source"), show_default=False)],
    sink: Annotated[str, typer.Argument(metavar="DST", help=t("sync.sink"), show_default=False)],
    table: Annotated[list[str] | None, typer.Option("--table", metavar="T", help=t("sync.table"))] = None,
    mode: Annotated[str, typer.Option("--mode", metavar="full|incremental|cdc|stream", help=t("sync.mode"))] = "",
    cursor: Annotated[str, typer.Option("--cursor", metavar="C", help=t("sync.cursor"))] = "",
    key: Annotated[list[str] | None, typer.Option("--key", metavar="K", help=t("sync.key"))] = None,
    write: Annotated[str, typer.Option("--write", metavar="append|upsert|replace|history", help=t("sync.write"))] = "",
    lane: Annotated[str, typer.Option("--lane", metavar="pass|columnar|python", help=t("sync.lane"))] = "",
    until_caught_up: Annotated[bool, typer.Option("--until-caught-up", help=t("sync.until_caught_up"))] = False,
    restart: Annotated[bool, typer.Option("--restart", help=t("sync.restart"))] = False,
    reload: Annotated[list[str] | None, typer.Option("--reload", metavar="T", help=t("sync.reload"))] = None,
    deletes: Annotated[str, typer.Option("--deletes", metavar="ignore|hard|soft", help=t("sync.deletes"))] = "",
    schema_changes: Annotated[
        str,
        typer.Option(
            "--schema-changes", metavar="evolve|freeze|discard_column|discard_row", help=t("sync.schema_changes")
        ),
    ] = "",
    splits: Annotated[int | None, typer.Option("--splits", metavar="N", help=t("sync.splits"))] = None,
    chunk_rows: Annotated[int | None, typer.Option("--chunk-rows", metavar="N", help=t("sync.chunk_rows"))] = None,
    max_quarantined: Annotated[
        str, typer.Option("--max-quarantined", metavar="N|P%", help=t("sync.max_quarantined"))
    ] = "",
    record: Annotated[Path | None, typer.Option("--record", metavar="DIR", help=t("record.record"))] = None,
    replay: Annotated[Path | None, typer.Option("--replay", metavar="DIR", help=t("record.replay"))] = None,
) -> int:
    """Move the tables of one system into another."""
    hide_passwords(sys.argv[1:])
    from tongqu.app.cli.moving import command_line, move
    from tongqu.app.services.syncing import SyncRequest
    from tongqu.app.services.syncing import sync as run_sync
    from tongqu.app.wire import new_id

    wire = call.wire()
    wire.record(record, replay)
    request = SyncRequest(
        source=source,
        sink=sink,
        tables=tuple(table or ()),
        mode=mode,
        cursor=cursor,
        key=tuple(key or ()),
        write=write,
        lane=lane,
        deletes=deletes,
        schema_changes=schema_changes,
        restart=restart,
        reload=tuple(reload or ()),
        until_caught_up=until_caught_up,
        splits=splits,
        chunk_rows=chunk_rows,
        quarantined=max_quarantined,
        command=command_line(),
    )
    return move(call, wire, lambda: run_sync(request, wire.ends, wire.runner, new_id))
