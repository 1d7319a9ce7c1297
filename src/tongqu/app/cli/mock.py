"""`tongqu mock PROFILE`: a stand-in of a vendor's API on this machine, made of its profile or its OpenAPI document.

`tongqu mock --apis` serves the project's own APIs with made-up rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, print_document, say, tell
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
    apis: Annotated[bool, typer.Option("--apis", help=t("mock.apis"))] = False,
    files: Annotated[bool, typer.Option("--files", help=t("serve.files"))] = False,
) -> int:
    """Serve the mock of a profile, of a document or of the project's APIs until it is stopped."""
    if apis:
        return _own(call, port, files=files)
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


def _own(call: Call, port: int, *, files: bool) -> int:
    """Serve the project's APIs with made-up rows."""
    from tongqu.app.services.serve_place import ServeRequest
    from tongqu.app.services.serving import serve

    def told(word: str, about: Mapping[str, Any]) -> None:
        if word == "listening" and call.json:
            print_document(about)
        elif word == "listening":
            tell(t("mock.own", url=about["url"]))
            for one in about.get("published", []):
                say(f"  {about['url']}{one['path']}")

    document = serve(call.wire(), ServeRequest(port=port, files=files, mock=True), told)
    return 0 if document["finished"] else 1
