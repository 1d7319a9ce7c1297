"""`tongqu serve`: the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, print_document, say, tell, tell_problem
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
) -> int:
    """Serve until a signal."""
    from tongqu.app.services.serve_place import ServeRequest
    from tongqu.app.services.serving import serve as serve_all

    request = ServeRequest(host, port, files, workers, tls_cert, tls_key, client_ca, plain)
    document = serve_all(call.wire(), request, lambda word, told: _tell(call, word, told))
    if not document.get("worker"):
        tell(t("serve.ended" if document["finished"] else "serve.cut"))
    return 0 if document["finished"] else 1


def _tell(call: Call, word: str, told: Mapping[str, Any]) -> None:
    if word == "listening":
        _listening(call, told)
    elif word == "stopping":
        tell(t("serve.stopping"))
    elif word == "died":
        tell(t("serve.died", worker=told["worker"], pid=told["pid"], code=told["code"]))
    elif word in ("served", "restored"):
        tell(t(f"serve.{word}", config=told["config"], apis=told["apis"]))
    else:
        tell(t("serve.kept", config=told["config"]) if word == "kept" else t("serve.degraded", path=told["path"]))
        for problem in told["problems"]:
            tell_problem(problem)


def _listening(call: Call, told: Mapping[str, Any]) -> None:
    if call.json:
        print_document(told)
        return
    say(t("serve.listening", url=told["url"]))
    for one in told.get("published", []):
        say(f"  {told['url']}{one['path']}" + ("" if one["state"] == "published" else f"  ({one['state']})"))
    if told["files"]:
        tell(t("serve.from_files"))
