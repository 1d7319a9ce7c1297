"""`tongqu mock PROFILE`: a stand-in of a vendor's API on this machine, made of its profile or its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, tell
from tongqu.app.cli.stopping import stoppable
from tongqu.app.messages import t

app = group()


@command(app, "mock", "command.mock")
def mock(
    call: Call,
    *,
    profile: Annotated[str, typer.Argument(metavar="[PROFILE]", help=t("mock.profile"), show_default=False)] = "",
    openapi: Annotated[str, typer.Option("--openapi", metavar="FILE|URL", help=t("mock.openapi"))] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=t("mock.port"))] = 0,
) -> int:
    """Serve the mock of a profile or a document until it is stopped."""
    from tongqu.app.services.mocking import chosen

    def ready(document: Mapping[str, Any]) -> None:
        tell(t("mock.listening", profile=document["profile"], url=document["url"]))
        if not call.json:
            connection = json.dumps(document["connection"], ensure_ascii=False)
            say(f"connections:\n  {document['profile']}: {connection}")

    serve = chosen(profile, openapi)
    wire = call.wire()
    with stoppable(wire.stop, t("mock.stopping")):
        document = serve(port, wire.stop, ready)
    call.answer(document, lambda done: tell(t("mock.stopped", calls=done["calls"])))
    return 0
