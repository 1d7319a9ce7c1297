"""An assessment as Markdown, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tongqu.app.messages import t
from tongqu.app.services.assessing.tables import facts, heading, tables
from tongqu.app.services.assessing.words import percent


def markdown(document: Mapping[str, Any]) -> str:
    """The whole text."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {_plain(heading(document))}\n"
    yield from (f"- {name}: {_plain(value)}" for name, value in facts(document))
    scores = [(t(f"assess.axis.{name}"), percent(axis["score"])) for name, axis in document["axes"].items()]
    scores.append((t("assess.score"), percent(document["score"])))
    yield from _table((t("assess.column.axis"), t("assess.column.score")), scores)
    for one in tables(document):
        yield f"\n## {_plain(one.heading)}"
        yield from _table(one.columns, ([_plain("; ".join(cell.lines)) for cell in row] for row in one.rows))
        for title, said in one.text:
            yield f"\n**{title}**\n"
            yield from (f"- {_plain(line)}" for line in said or ("—",))
    yield f"\n{t('assess.formula')}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"\n| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _plain(text: str) -> str:
    """A text that cannot end its cell or begin markup of its own."""
    for sign, instead in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("[", "\\["), ("\n", " "), ("\r", " ")):
        text = text.replace(sign, instead)
    return text
