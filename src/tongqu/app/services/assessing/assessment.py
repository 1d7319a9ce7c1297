"""`assess`: scores a vendor's interface, writes the report, compares it with an older one, watches the document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from tongqu.app.services import reports
from tongqu.app.services.assessing.documents import Paper, Remembered, paper
from tongqu.app.services.ends import Ends, is_url
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, NotFoundError, learnt
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber

if TYPE_CHECKING:
    from tongqu.catalog.assessing.measured import Measured
    from tongqu.catalog.assessing.scenarios import Coverage
    from tongqu.catalog.assessing.shapes import Interface
    from tongqu.catalog.assessing.vendor_evidence import Given
    from tongqu.kit.http.settings import HttpSettings

LAST = "last"


@dataclass(frozen=True)
class AssessRequest:
    """The arguments of `assess`."""

    connection: str = ""
    openapi: str = ""
    wsdl: str = ""
    checklists: tuple[str, ...] = ()
    """Names of ready ones, or files. None: the ready one that fits best."""
    evidence: Path | None = None
    against: str = ""
    """The JSON of an older assessment, or `last` for the last one of this document in this home."""
    calls: int = 3
    """How often each operation is called; 0: nothing is called."""
    out: Path | None = None
    """The folder of the report; None: one in the home."""


@dataclass(frozen=True)
class Pages:
    """How a report is drawn, from a document in the words of the language in use."""

    worded: Callable[[Mapping[str, Any]], dict[str, Any]]
    html: Callable[[Mapping[str, Any]], str]
    markdown: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True)
class _Asked:
    """The document that is meant, and the connection that it belongs to."""

    kind: str
    place: str
    settings: HttpSettings | None

    def paper(self) -> Paper:
        """Get it. What is wrong with a file is learnt without connecting anywhere."""
        if not is_url(self.place):
            return paper(self.kind, self.place)
        settings = self.settings
        if settings is not None:
            settings = settings.model_copy(update={"base_url": settings.base_url or self.place, "record": None})
        with learnt():
            found = paper(self.kind, self.place, settings)
            found.interface()
        return found


@dataclass(frozen=True)
class Assessing:
    """Assesses vendors' interfaces. `at` tells the time, `new_id` names an assessment."""

    ends: Ends
    home: Home
    scrubber: Scrubber
    pages: Pages
    at: Callable[[], str]
    new_id: Callable[[], str]
    stop: Event

    def assess(self, request: AssessRequest) -> dict[str, Any]:
        """The assessment's document: that of `Assessment.to_json` with `id`, `at`, `connection`, the files of the
        `report`, the `comparison` if asked for, and titles and messages in the language in use. No secret, and no value
        that an interface answered, is in it.

        Raises InvalidPlanError unless one document is named, NotFoundError for what is not there,
        InvalidSettingsError for a document, checklist, evidence or older assessment that cannot be read, and what
        getting the document raises. Failing calls to the interface are part of the result.
        """
        from tongqu.catalog.assessing.comparing import compared
        from tongqu.catalog.assessing.scoring import assess

        if request.calls < 0 or request.calls > 100:
            raise InvalidSettingsError(f"--calls is 0 to 100 (got {request.calls})", path="--calls")
        vendor, chosen = _vendor(request.evidence), _checklists(request.checklists)
        older = _older(request.against) if request.against and request.against != LAST else None
        asked = self._asked(request)
        interface = asked.paper().interface()
        with learnt():
            measured = self._measured(request, interface, asked.settings)
        coverages = _coverages(interface, chosen)
        result = assess(interface, coverages, measured, vendor).to_json()
        if request.against == LAST:
            older = self._last(interface.where)
        id = self.new_id()
        document = {"id": id, "at": self.at(), "connection": self.scrubber.text(request.connection), **result}
        if older is not None:
            document["comparison"] = compared(older, result)
        document = self.pages.worded(self.scrubber.deep(document))
        return {**document, "report": self._write(document, request.out)}

    def watch(self, request: AssessRequest) -> dict[str, Any]:
        """Compare the vendor's document with the last one, and remember this one: `document`, `first` (nothing to
        compare with), `since`, `changes` (breaking ones first) and their counts `breaking` and `other`. Raises as
        `assess` does, and WriteError if the document cannot be remembered; then the change is told again next time."""
        from tongqu.catalog.assessing.breaking import changes, summary

        asked = self._asked(request)
        found = asked.paper()
        interface = found.interface()
        remembered = Remembered(self.home.ensure() / "watched")
        last = remembered.last(asked.place)
        differences = changes(last[1].interface(), interface) if last is not None else []
        if last is None or last[1] != found:
            remembered.keep(asked.place, found, self.at())
        document = {
            "document": found.where,
            "title": interface.title,
            "version": interface.version,
            "first": last is None,
            "since": last[0] if last is not None else "",
            **summary(differences),
            "changes": [one.to_json() for one in differences],
        }
        return self.pages.worded(self.scrubber.deep(document))

    def _asked(self, request: AssessRequest) -> _Asked:
        """Which document is meant, and the settings of the connection if one is named."""
        from tongqu.kit.http.settings import HttpSettings

        if request.openapi and request.wsdl:
            raise InvalidPlanError("name one document", path="--wsdl", hint="--openapi or --wsdl, not both")
        settings: HttpSettings | None = None
        openapi, wsdl = request.openapi, request.wsdl
        if request.connection:
            end = self.ends.end(request.connection)
            if not isinstance(end.settings, HttpSettings):
                raise InvalidPlanError(f"{end.connector.name} is no interface over HTTP", path=end.name)
            settings = end.settings
            if not openapi and not wsdl:
                openapi, wsdl = getattr(settings, "openapi", None) or "", getattr(settings, "wsdl_place", "")
        if not openapi and not wsdl:
            raise InvalidPlanError(
                "no document of an interface is named", path=request.connection,
                hint="--openapi FILE|URL, --wsdl FILE|URL, or a connection with `openapi`, or of a SOAP service",
            )  # fmt: skip
        kind, place = ("openapi", openapi) if openapi else ("wsdl", wsdl)
        return _Asked(kind, place, settings)

    def _measured(self, request: AssessRequest, interface: Interface, settings: HttpSettings | None) -> Measured | None:
        if settings is None or not request.calls:
            return None
        from tongqu.app.services.assessing.calls import measure

        base = settings.base_url or next(iter(interface.servers), "")
        if not base.startswith(("http://", "https://")):
            return None
        return measure(interface, settings.model_copy(update={"base_url": base}), request.calls, self.stop)

    def _last(self, where: str) -> Mapping[str, Any] | None:
        """The newest assessment of the document in this home."""
        for path in sorted((self.home.path / "assessments").glob("*/assessment.json"), reverse=True):
            held = _older(str(path))
            if held.get("interface", {}).get("document") == self.scrubber.text(where):
                return held
        raise NotFoundError("this document was not assessed before in this home", path="--against")

    def _write(self, document: Mapping[str, Any], out: Path | None) -> dict[str, str]:
        folder = out if out is not None else self.home.ensure() / "assessments" / document["id"]
        texts = {
            "html": self.pages.html(document),
            "markdown": self.pages.markdown(document),
            "json": json.dumps(document, ensure_ascii=False, indent=2) + "\n",
        }
        paths = {
            kind: folder / f"assessment.{end}" for kind, end in (("html", "html"), ("markdown", "md"), ("json", "json"))
        }
        for kind, path in paths.items():
            reports.write(path, texts[kind])
        return {kind: str(path) for kind, path in paths.items()}


def _vendor(path: Path | None) -> tuple[Given, ...]:
    from tongqu.catalog.assessing import vendor_evidence

    return vendor_evidence.read(_file(path), str(path)) if path is not None else vendor_evidence.nothing()


def _checklists(names: Sequence[str]) -> list[Any]:
    """The checklists that are named, ready ones by name and own ones by file."""
    from tongqu.catalog.assessing.checklist import READY, read, ready

    return [ready(n) if n in READY or not Path(n).suffix else read(_file(Path(n)), n) for n in names]


def _coverages(interface: Interface, chosen: Sequence[Any]) -> list[Coverage]:
    """The coverage of the checklists; if none is named, of the ready one that is covered best, if any is."""
    from tongqu.catalog.assessing.checklist import READY, ready
    from tongqu.catalog.assessing.scenarios import coverage

    if chosen:
        return [coverage(interface, one) for one in chosen]
    best = max((coverage(interface, ready(name)) for name in READY), key=lambda one: one.score)
    return [best] if best.score else []


def _older(path: str) -> Mapping[str, Any]:
    """The document of an older assessment."""
    try:
        held = json.loads(_file(Path(path)))
    except ValueError as error:
        raise InvalidSettingsError(f"{path} is no JSON: {error}", path=path) from error
    if not isinstance(held, dict):
        raise InvalidSettingsError(f"{path} is no assessment", path=path)
    return held


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"there is no file {path}", path=str(path)) from error
