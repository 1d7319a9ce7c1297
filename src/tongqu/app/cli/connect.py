"""`tongqu connect`: connections made out of what systems say of themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say
from tongqu.app.messages import t

app = group()


@app.callback(help=t("command.connect"))
def connect() -> None:
    """Keeps `import` a command of its own while it is the only one."""


@command(app, "import", "connect.import")
def import_(
    call: Call,
    *,
    openapi: Annotated[str, typer.Option("--openapi", metavar="FILE|URL", help=t("connect.openapi"))] = "",
    postman: Annotated[str, typer.Option("--postman", metavar="FILE", help=t("connect.postman"))] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help=t("connect.name"))] = "",
    base_url: Annotated[str, typer.Option("--base-url", metavar="URL", help=t("connect.base_url"))] = "",
    dataset: Annotated[list[str] | None, typer.Option("--dataset", metavar="GLOB", help=t("connect.dataset"))] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help=t("connect.out"))] = None,
) -> int:
    """Show, or write into a new file, the connection that a document describes."""
    from tongqu.app.services.connecting import imported

    document = imported(openapi=openapi, postman=postman, name=name, base_url=base_url, datasets=dataset or ())
    if out is not None:
        from tongqu.core.errors import InvalidPlanError

        if out.exists():
            raise InvalidPlanError(f"{out} is there already", path="--out", hint="name a new file")
        out.write_text(_yaml(document), encoding="utf-8")
    call.answer(document, lambda shown: _show(shown, out))
    return 0


def _yaml(document: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    buffer = io.StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump({"connections": {document["name"]: document["connection"]}}, buffer)
    return buffer.getvalue()


def _show(document: Mapping[str, Any], out: Path | None) -> None:
    if out is None:
        say(_yaml(document).rstrip())
    for one in document["datasets"]:
        if one["needs"]:
            say(t("connect.needs", name=one["name"], params=", ".join(one["needs"])))
    if document["credentials"]["written"]:
        say(t("connect.auth", name=document["name"]))
    elif document["credentials"]["schemes"]:
        say(t("connect.auth_by_hand", schemes=", ".join(document["credentials"]["schemes"])))
    for one in document["left_out"]:
        say(t("connect.left_out", operation=one["operation"], reason=one["reason"]))
    counts = {"count": len(document["datasets"]), "left": len(document["left_out"])}
    say(t("connect.done", **counts, file=str(out)) if out else t("connect.shown", **counts))
