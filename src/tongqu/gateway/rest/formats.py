"""Which representation a caller gets: the `Accept` header against what REST can give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from tongqu.gateway.problems import Problem

Shape = Literal["json", "object", "csv", "xml", "arrow"]
JSON = "application/json"
OBJECT = "application/vnd.pgrst.object+json"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class Form:
    """A representation. `stripped` leaves out nulls, `escaped` makes text that a spreadsheet would run harmless."""

    shape: Shape
    media: str
    stripped: bool = False
    escaped: bool = False

    @property
    def variant(self) -> str:
        """What distinguishes its entity tags from those of the same rows in plain JSON; empty for that."""
        return {"json": "", "object": "o", "csv": "c", "xml": "x", "arrow": "a"}[self.shape] + (
            "n" if self.stripped else "e" if self.escaped else ""
        )


_FORMS = {
    JSON: Form("json", f"{JSON}; charset=utf-8"),
    "application/vnd.pgrst.array+json": Form("json", "application/vnd.pgrst.array+json; charset=utf-8"),
    "application/vnd.pgrst.array": Form("json", "application/vnd.pgrst.array+json; charset=utf-8"),
    OBJECT: Form("object", f"{OBJECT}; charset=utf-8"),
    "application/vnd.pgrst.object": Form("object", f"{OBJECT}; charset=utf-8"),
    "text/csv": Form("csv", "text/csv; charset=utf-8"),
    "application/xml": Form("xml", "application/xml; charset=utf-8"),
    "text/xml": Form("xml", "text/xml; charset=utf-8"),
    ARROW: Form("arrow", ARROW),
}
_WILD = {"*/*": JSON, "application/*": JSON, "text/*": "text/csv"}


@lru_cache(maxsize=256)
def form(accept: str) -> Form:
    """The best of what is accepted: the highest `q`, then the order of the header. Empty accepts anything.

    Parameters: `nulls=stripped` for JSON, `formulas=escaped` for CSV. Raises Problem `accept.unknown`.
    """
    best: tuple[float, Form] | None = None
    for part in (accept or "*/*").split(","):
        media, _, rest = part.strip().partition(";")
        media = media.strip().lower()
        found = _FORMS.get(_WILD.get(media, media))
        if found is None:
            continue
        weight = 1.0
        for option in rest.split(";"):
            name, _, value = option.strip().lower().partition("=")
            if name == "q":
                weight = _weight(value)
            elif name == "nulls" and value == "stripped" and found.shape in ("json", "object"):
                found = replace(found, stripped=True, media=found.media.replace(";", ";nulls=stripped;"))
            elif name == "formulas" and value == "escaped" and found.shape == "csv":
                found = replace(found, escaped=True)
        if weight > 0 and (best is None or weight > best[0]):
            best = (weight, found)
    if best is None:
        raise Problem("accept.unknown", f"what can be given: {', '.join(_FORMS)}")
    return best[1]


def _weight(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
