"""`tongqu serve`: the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, print_document, say, tell
from tongqu.app.cli.served import tell_served
from tongqu.app.cli.worker import tell_job
from tongqu.app.messages import t

app = typer.Typer()


@command(app, "serve", "command.serve")
def serve(
    call: Call,
    *,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help=t("serve.host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help=t("serve.port"))] = 8700,
    files: Annotated[bool, typer.Option("--files", help=t("serve.files"))] = False,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, max=64, help=t("serve.workers"))] = 1,
    tls_cert: Annotated[str, typer.Option("--tls-cert", metavar="FILE", help=t("serve.tls_cert"))] = "",
    tls_key: Annotated[str, typer.Option("--tls-key", metavar="FILE", help=t("serve.tls_key"))] = "",
    client_ca: Annotated[str, typer.Option("--client-ca", metavar="FILE", help=t("serve.client_ca"))] = "",
    plain: Annotated[bool, typer.Option("--plain", help=t("serve.plain"))] = False,
    manage_port: Annotated[
        int | None,
        typer.Option(
            "--manage-port", metavar="PORT", min=0, max=65535, help=t("serve.manage_port"), show_default=False
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=0, max=64, help=t("serve.concurrency"))
    ] = 2,
    demo: Annotated[bool, typer.Option("--demo", help=t("serve.demo"))] = False,
) -> int:
    """Serve until a signal."""
    if demo:
        from tongqu.app.cli.demo import serve_demo

        return serve_demo(call, None, port)
    from tongqu.app.http.handler import managing
    from tongqu.app.services.serve_place import ServeRequest
    from tongqu.app.services.serving import serve as serve_all

    request = ServeRequest(
        host, port, files, workers, tls_cert, tls_key, client_ca, plain,
        manage_port=manage_port, concurrency=concurrency,
    )  # fmt: skip
    wire = call.wire()
    document = serve_all(wire, request, lambda word, told: _tell(call, word, told), managing(wire))
    if not document.get("worker"):
        tell(t("serve.ended" if document["finished"] else "serve.cut"))
    return 0 if document["finished"] else 1


def _tell(call: Call, word: str, told: Mapping[str, Any]) -> None:
    if word == "listening":
        _listening(call, told)
    elif "job" in told or word in ("blind", "sighted", "unusable"):
        tell_job(word, told)
    else:
        tell_served(word, told)


def _listening(call: Call, told: Mapping[str, Any]) -> None:
    if call.json:
        print_document(told)
        return
    say(t("serve.listening", url=told["url"]))
    for one in told.get("published", []):
        say(f"  {told['url']}{one['path']}" + ("" if one["state"] == "published" else f"  ({one['state']})"))
    if told["files"]:
        tell(t("serve.from_files"))
