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
_SHORT = 90
"""Characters of a mapping that stands in one line."""
_DATASET = 4
"""How deep a dataset stands: below `connections`, the connection's name, `datasets` and its own."""


@app.callback(help=t("command.connect"))
def connect() -> None:
    """Keeps `import` a command of its own while it is the only one."""


@command(app, "import", "connect.import")
def import_(
    call: Call,
    *,
    openapi: Annotated[str, typer.Option("--openapi", metavar="FILE|URL", help=t("connect.openapi"))] = "",
    postman: Annotated[str, typer.Option("--postman", metavar="FILE", help=t("connect.postman"))] = "",
    wsdl: Annotated[str, typer.Option("--wsdl", metavar="FILE|URL", help=t("connect.wsdl"))] = "",
    odata: Annotated[str, typer.Option("--odata", metavar="FILE|URL", help=t("connect.odata"))] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help=t("connect.name"))] = "",
    base_url: Annotated[str, typer.Option("--base-url", metavar="URL", help=t("connect.base_url"))] = "",
    dataset: Annotated[list[str] | None, typer.Option("--dataset", metavar="GLOB", help=t("connect.dataset"))] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help=t("connect.out"))] = None,
) -> int:
    """Show, or write into a new file, the connection that a document describes."""
    from tongqu.app.services.connecting import imported

    documents = {"openapi": openapi, "postman": postman, "wsdl": wsdl, "odata": odata}
    document = imported(documents, name=name, base_url=base_url, datasets=dataset or ())
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
    whole = _commented({"connections": {document["name"]: document["connection"]}})
    for guess in document["guessed"]:
        way: list[str] = ["connections", document["name"], "datasets", guess["dataset"], *guess["setting"].split(".")]
        above, last = way[:-1], way[-1]
        holder = whole
        for name in above:
            holder = holder[name]
        holder.fa.set_block_style()
        said = t("connect.guessed", source=guess["from"])
        holder.yaml_set_comment_before_after_key(last, before=said, indent=2 * len(above))
    yaml.dump(whole, buffer)
    return buffer.getvalue()


def _commented(value: Any, depth: int = 0) -> Any:
    """Plain values as ones that may have comments; what a dataset has that is short stands in one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        made = CommentedMap({name: _commented(held, depth + 1) for name, held in value.items()})
        plain = not any(isinstance(held, Mapping | list) and held for held in value.values())
        if depth > _DATASET and plain and sum(len(f"{name}: {held}, ") for name, held in value.items()) <= _SHORT:
            made.fa.set_flow_style()
        return made
    if isinstance(value, list):
        listed = CommentedSeq(_commented(one, depth + 1) for one in value)
        listed.fa.set_flow_style()
        return listed
    return value


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
    if document["guessed"]:
        say(t("connect.look_at_guesses", count=len(document["guessed"])))
    for one in document["left_out"]:
        say(t("connect.left_out", operation=one["operation"], reason=one["reason"]))
    counts = {"count": len(document["datasets"]), "left": len(document["left_out"])}
    say(t("connect.done", **counts, file=str(out)) if out else t("connect.shown", **counts))
