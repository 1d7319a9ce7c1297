"""`tongqu agent`: a hub, and agents that dial out to it from other sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say, table, tell
from tongqu.app.cli.stopping import stoppable
from tongqu.app.messages import t

app = group()
Name = Annotated[str, typer.Argument(metavar="NAME", help=t("agent.name"), show_default=False)]


@command(app, "hub", "agent.hub")
def hub(
    call: Call,
    *,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help=t("agent.listen"))] = "127.0.0.1:8722",
    tls_listen: Annotated[str, typer.Option("--tls-listen", metavar="HOST:PORT", help=t("agent.tls_listen"))] = "",
    tls_cert: Annotated[str, typer.Option("--tls-cert", metavar="FILE", help=t("agent.tls_cert"))] = "",
    tls_key: Annotated[str, typer.Option("--tls-key", metavar="FILE", help=t("agent.tls_key"))] = "",
) -> int:
    """Run the hub that agents dial."""
    from tongqu.app.services.agents import HubRequest, serve

    wire = call.wire()
    with stoppable(wire.stop, t("agent.stopping")):
        document = serve(HubRequest(listen, tls_listen, tls_cert, tls_key), wire.home, wire.stop, _tell)
    call.answer(document, _nothing)
    return 0


@command(app, "add", "agent.add", audited=True)
def add(call: Call, name: Name, use: Annotated[bool, typer.Option("--use", help=t("agent.use"))] = False) -> int:
    """Make a token."""
    from tongqu.app.services.agents import add as add_one

    call.answer(add_one(call.wire().home, name, use=use), _show_token)
    return 0


@command(app, "remove", "agent.remove", audited=True)
def remove(call: Call, name: Name) -> int:
    """End a token."""
    from tongqu.app.services.agents import remove as remove_one

    call.answer(remove_one(call.wire().home, name), lambda done: say(t("agent.removed", name=done["removed"])))
    return 0


@command(app, "list", "agent.list")
def list_agents(call: Call) -> int:
    """List the tokens and who is connected."""
    from tongqu.app.services.agents import listed

    call.answer(listed(call.wire().home), _show_list)
    return 0


@command(app, "run", "agent.run")
def run(
    call: Call,
    *,
    hub_place: Annotated[str, typer.Option("--hub", metavar="[tls://]HOST:PORT", help=t("agent.hub_place"))],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help=t("agent.name"))],
    token: Annotated[str, typer.Option("--token", metavar="REFERENCE", help=t("agent.token"))],
    fingerprint: Annotated[str, typer.Option("--fingerprint", metavar="SHA256:…", help=t("agent.fingerprint"))],
    allow: Annotated[list[str] | None, typer.Option("--allow", metavar="HOST:PORT", help=t("agent.allow"))] = None,
    via: Annotated[list[str] | None, typer.Option("--via", metavar="PROXY", help=t("agent.via"))] = None,
    ca: Annotated[str, typer.Option("--ca", metavar="FILE", help=t("agent.ca"))] = "",
) -> int:
    """Be the agent of this site."""
    from tongqu.app.services.agents import AgentRequest
    from tongqu.app.services.agents import run as run_agent

    wire = call.wire()
    request = AgentRequest(hub_place, name, token, fingerprint, tuple(allow or ()), tuple(via or ()), ca)
    with stoppable(wire.stop, t("agent.stopping")):
        document = run_agent(request, wire.ends.secret, wire.stop, _tell)
    call.answer(document, _nothing)
    return 0


def _tell(word: str, about: str) -> None:
    words = {
        "listening": t("agent.is_listening", about=about),
        "connected": t("agent.is_connected", about=about),
        "left": t("agent.has_left", about=about),
        "lost": t("agent.was_lost", about=about),
        "refused": t("agent.was_refused", about=about),
    }
    tell(words[word])


def _nothing(document: Mapping[str, Any]) -> None:
    del document


def _show_token(document: Mapping[str, Any]) -> None:
    tell(t("agent.token_once"))
    say(document["token"])
    tell(t("agent.pin", fingerprint=document["fingerprint"]))


def _show_list(document: Mapping[str, Any]) -> None:
    if not document["hub"]:
        tell(t("agent.no_hub"))
    marks = {True: "✓", False: "✗", None: "?"}
    heading = tuple(t(f"column.{name}") for name in ("name", "role", "connected"))
    table([heading, *((row["name"], row["role"], marks[row["connected"]]) for row in document["agents"])])
