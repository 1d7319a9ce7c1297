"""`tongqu pull`: writes the version that counts back into the project's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tongqu.app.cli.call import Call, command, group, say
from tongqu.app.cli.changing import versioning
from tongqu.app.messages import t

app = group()


@command(app, "pull", "command.pull")
def pull(
    call: Call,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help=t("pull.version"), show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=t("pull.force"))] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help=t("pull.dry"))] = False,
) -> int:
    """Write a version into the files, keeping comments."""
    from tongqu.app.services.pulling import pull as pulled

    with versioning(call.wire()) as mine:
        document = pulled(mine, version, force=force, dry=dry)
    call.answer(document, _show)
    return 0


def _show(document: Mapping[str, Any]) -> None:
    for name in document.get("not_pulled", ()):
        say(t("pull.other", file=name, version=document["version"]))
    if not document["files"]:
        say(t("pull.same", version=document["version"]))
        return
    say(t("pull.done", version=document["version"], files=", ".join(document["files"])))
