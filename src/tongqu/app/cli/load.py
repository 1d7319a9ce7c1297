"""`tongqu load`: how much a published API can take, and what holds it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, say
from tongqu.app.messages import t

app = typer.Typer()


@command(app, "load", "command.load")
def load(
    call: Call,
    api: Annotated[str, typer.Argument(metavar="API", help=t("load.api"), show_default=False)],
    *,
    query: Annotated[str, typer.Option("--query", metavar="QUERY", help=t("load.query"))] = "",
    connections: Annotated[
        int, typer.Option("--connections", metavar="N", min=1, max=10_000, help=t("load.connections"))
    ] = 16,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help=t("load.seconds"))] = 10.0,
    rate: Annotated[float, typer.Option("--rate", metavar="R", min=0.0, help=t("load.rate"))] = 0.0,
    url: Annotated[str, typer.Option("--url", metavar="URL", help=t("drill.url"))] = "",
    token: Annotated[str, typer.Option("--token", metavar="REF", help=t("drill.token"))] = "",
    ca_file: Annotated[str, typer.Option("--ca", metavar="FILE", help=t("drill.ca"))] = "",
) -> int:
    """Call an API for some seconds and tell what came back."""
    from tongqu.app.services.loading import LoadRequest
    from tongqu.app.services.loading import load as measure

    wire = call.wire()
    good = str(wire.references.resolve(token)) if token else ""
    document = measure(wire, LoadRequest(api, url, query, good, connections, seconds, rate, ca_file))
    call.answer(document, _show)
    return 3 if document["failed"] or document["refused"] else 0


def _show(document: Mapping[str, Any]) -> None:
    latency = document["latency_ms"]
    say(t("load.title", api=document["api"], connections=document["connections"], seconds=document["seconds"]))
    say(t("load.rate_reached", rate=f"{document['requests_per_second']:,}", good=f"{document['good']:,}"))
    say(t("load.latency", alone=document["alone_ms"]["p50"], health=document["health_ms"]["p50"], **latency))
    if document["refused"] or document["failed"] or document["unsent"]:
        counts = {name: f"{document[name]:,}" for name in ("refused", "failed", "unsent")}
        told = ", ".join(f"{status}: {count:,}" for status, count in document["statuses"].items())
        say(t("load.refused", statuses=told, **counts))
    cpu = {name: "—" if share is None else f"{100 * share:.0f} %" for name, share in document["cpu"].items()}
    say(t("load.cpu", **cpu))
    say(t(f"load.bottleneck.{document['bottleneck']}"))
