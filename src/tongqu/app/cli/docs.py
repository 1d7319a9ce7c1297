"""`tongqu docs`: writes the data-source inventory, the data dictionary and the flow diagram of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tongqu.app.cli.call import Call, command, group, say
from tongqu.app.messages import language, t
from tongqu.core.errors import InvalidSettingsError

app = group()
FORMATS = ("html", "md", "xlsx")


@command(app, "docs", "command.docs")
def docs(
    call: Call,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help=t("docs.out"))] = Path("docs"),
    formats: Annotated[
        list[str] | None, typer.Option("--format", metavar="|".join(FORMATS), help=t("docs.format"), show_default=False)
    ] = None,
) -> int:
    """Write the documentation into a folder."""
    from tongqu.app.services import documentation, reports

    wanted = formats or ["html", "md"]
    for name in wanted:
        if name not in FORMATS:
            raise InvalidSettingsError(
                f"--format: {name!r} is not one of the values allowed", path="--format", hint=", ".join(FORMATS)
            )
    wire = call.wire()

    book = documentation.book(wire.project, wire.scrubber.text)
    files = []
    for name in wanted:
        file = out / f"{book.title}.{language()}.{name}".replace("/", "_")
        if name == "xlsx":
            reports.write(file, documentation.workbook(book))
        else:
            text = documentation.page(book) if name == "html" else documentation.markdown(book)
            reports.write(file, text)
        files.append(str(file))
    call.answer({"files": files}, lambda document: say("\n".join(document["files"])))
    return 0
