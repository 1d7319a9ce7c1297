"""Turns a URL or the name of a connection into a source or sink: the one place where references are resolved."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.project.connections import connector_of, settings_of
from tongqu.app.project.places import ProblemsError
from tongqu.core import registry
from tongqu.core.connector import Connector, Sink, Source
from tongqu.core.errors import (
    ConfigError,
    InvalidPlanError,
    InvalidSettingsError,
    SecretError,
    TongquError,
    UnknownConnectorError,
)
from tongqu.core.settings import Endpoint
from tongqu.kit.egress.settings import Networked, rooted_hop
from tongqu.store.literal import literal_passwords
from tongqu.store.references import KINDS, References
from tongqu.store.scrub import Scrubber

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.pointing import Known
    from tongqu.app.services.recording import Recordings
    from tongqu.engine.forgetting import Forgetting
    from tongqu.kit.egress.access import Access

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True)
class End:
    """A connection that is ready to be opened.

    `name` is the connection's name or the URL without password; `kept` is what can be written down to find it again
    (empty where that would need a password that stood in the URL).
    """

    name: str
    connector: Connector
    settings: Endpoint
    kept: str = ""
    lodging: Path | None = None
    """The connector's folder in the project's home."""
    stands_for: str = ""
    """The identity of the connection that it is read instead of."""

    @property
    def identity(self) -> str:
        """What it points to, without credentials; addresses of another site's network are told apart from ours."""
        if self.stands_for:
            return self.stands_for
        network = self.settings.network if isinstance(self.settings, Networked) else ""
        return f"{self.settings.identity()} via {network}" if network else self.settings.identity()

    def source(self) -> Source:
        """A new source; raises InvalidPlanError if the connector only writes."""
        if self.connector.source is None:
            raise InvalidPlanError(f"{self.connector.name} cannot be read", path=self.name)
        source = self.connector.source(self.settings)
        if self.lodging:
            source.lodge(self.lodging)
        return source

    def sink(self) -> Sink:
        """A new sink; raises InvalidPlanError if the connector only reads."""
        if self.connector.sink is None:
            raise InvalidPlanError(f"{self.connector.name} cannot be written", path=self.name)
        sink = self.connector.sink(self.settings)
        if self.lodging:
            sink.lodge(self.lodging)
        return sink


class Ends:
    """Finds ends by URL or name. `warn` is told at most once that a URL holds a password; `lodging` gives the folder
    of what an identity means, `hub` how to enter the hub of agents in the project's home,
    `recordings` where HTTP calls are recorded or answered from, `forgets` which step leaves out erased persons,
    `persons` by dataset of the dictionary the field of each identity."""

    def __init__(
        self,
        *,
        references: References,
        scrubber: Scrubber,
        project: Callable[[], Project],
        warn: Callable[[str], None],
        lodging: Callable[[str], Path] | None = None,
        hub: Callable[[], Access | None] = lambda: None,
        recordings: Callable[[], Recordings | None] = lambda: None,
        forgets: Callable[[Mapping[str, Mapping[str, str]]], Forgetting | None] = lambda fields: None,
        persons: Callable[[], Mapping[str, Mapping[str, str]]] = dict,
    ):
        self._references = references
        self._lodging = lodging
        self._hub = hub
        self._recordings = recordings
        self._forgets = forgets
        self.persons = persons
        self._scrubber = scrubber
        self._project = project
        self._warn = warn
        self._warned = False

    def end(self, place: str) -> End:
        """The end that a URL or name means; raises ConfigError without having connected anywhere."""
        if whole_reference(place):
            return self._by_reference(place)
        return self._by_url(place) if is_url(place) else self._by_name(place)

    def ends(self, places: Sequence[str]) -> list[End]:
        """The ends of several places; raises ProblemsError with everything that is wrong with any of them."""
        found: list[End] = []
        wrong: list[TongquError] = []
        for place in places:
            try:
                found.append(self.end(place))
            except SecretError as error:
                wrong += self._missing(place) or [error]
            except ConfigError as error:
                wrong += getattr(error, "problems", (error,))
        if wrong:
            raise ProblemsError(wrong)
        return found

    def _missing(self, place: str) -> Sequence[TongquError]:
        if whole_reference(place) or is_url(place):
            return self._references.missing(place)
        project = self._project()
        return self._references.missing(project.connection(place), project.places.path(("connections", place)))

    def dangling(self, known: Known) -> Sequence[TongquError]:
        """What is wrong with each reference of the project outside its connections. Raises what the connection of a
        vault raises."""
        from tongqu.app.services.pointing import dangling

        return dangling(self._project(), self._references, known)

    def secret(self, reference: str) -> str:
        """The value of a reference, which is never shown afterwards; raises SecretError."""
        value = str(self._references.resolve(reference))
        self._scrubber.add(value)
        return value

    def forgetting(self, fields: Mapping[str, Mapping[str, str]]) -> Forgetting | None:
        """The step that leaves out erased persons, of datasets with the field of each identity; None if none was."""
        return self._forgets(fields)

    def _by_reference(self, reference: str) -> End:
        """A URL that is kept whole in the environment or a secret; only the reference is ever stored or shown."""
        url = str(self._references.resolve(reference))
        if not is_url(url):
            raise UnknownConnectorError(
                f"the value of {reference} is not a URL",
                path=reference,
                hint="it must begin with a scheme, for example postgresql://",
            )
        self._scrubber.add_url(url)
        connector = registry.by_url(url)
        try:
            settings = connector.from_url(url)
        except ConfigError as error:
            error.path = error.path or reference
            raise
        return self._end(reference, connector, settings, reference)

    def _by_url(self, url: str) -> End:
        self._scrubber.add_url(url)
        password = bool(literal_passwords(url))
        if password and not self._warned:
            self._warned = True
            self._warn("warning.literal_password")
        shown = self._scrubber.text(url)
        connector = registry.by_url(url)
        try:
            settings = connector.from_url(self._references.resolve(url))
        except ConfigError as error:
            error.path = error.path or shown
            raise
        return self._end(shown, connector, settings, "" if password else url)

    def _by_name(self, name: str) -> End:
        try:
            project = self._project()
        except ConfigError as error:
            if type(error) is ConfigError:
                raise _neither(name) from error
            raise
        if name not in project.connections and _is_file(name):
            raise _neither(name)
        raw = project.connection(name)
        connector = connector_of(raw)
        path = project.places.path(("connections", name))
        values = rooted(self._references.resolve(raw, path), project.folder)
        self._scrubber.add_url(str(values.get("url", "")))
        return self._end(name, connector, settings_of(connector, values, path), name)

    def _end(self, name: str, connector: Connector, settings: object, kept: str) -> End:
        if not isinstance(settings, Endpoint):
            raise InvalidSettingsError(f"the connector {connector.name} gives no Endpoint", path=name)
        if isinstance(settings, Networked):
            settings = settings.entering(self._hub())
        self._scrubber.add_settings(settings)
        recordings = self._recordings()
        if recordings is not None:
            settings = recordings.used(name, settings)
        end = End(name, connector, settings, kept)
        return replace(end, lodging=self._lodging(end.identity)) if self._lodging else end


def whole_reference(place: str) -> bool:
    """Whether it is one `${env:X}`, `${secret:X}`, `${file:X}` or `${vault:X}` and nothing else."""
    return re.fullmatch(rf"\$\{{({'|'.join(KINDS)}):[^{{}}]+\}}", place) is not None


def is_url(place: str) -> bool:
    """Whether it begins with a scheme."""
    return _URL.match(place) is not None


def rooted(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A connection's values with relative file paths made to start at the project's folder."""
    moved = dict(values)
    path = moved.get("path")
    if (
        isinstance(path, str)
        and path
        and not path.startswith(":")
        and not Path(path).is_absolute()
        and "address" not in moved
    ):
        moved["path"] = str(folder.absolute() / path)
    for name in ("openapi", "postman", "wsdl", "metadata_file"):
        document = moved.get(name)
        if isinstance(document, str) and document and not is_url(document) and not Path(document).is_absolute():
            moved[name] = str(folder.absolute() / document)
    own = moved.get("profile")
    if isinstance(own, str) and own.endswith((".yaml", ".yml")) and not Path(own).is_absolute():
        moved["profile"] = str(folder.absolute() / own)
    if isinstance(moved.get("via"), list):
        moved["via"] = [rooted_hop(hop, folder) for hop in moved["via"]]
    url = moved.get("url")
    if isinstance(url, str):
        found = re.match(r"(sqlite|duckdb|file):(?!/)(?P<path>[^?:][^?]*)", url)
        if found:
            moved["url"] = f"{found[1]}:{folder.absolute() / found['path']}{url[found.end() :]}"
    return moved


def _neither(place: str) -> UnknownConnectorError:
    hint = f"for a file write file:{place}" if _is_file(place) else "for example sqlite:x.db or postgresql://host/db"
    return UnknownConnectorError(f"{place!r} is neither a URL nor the name of a connection", path=place, hint=hint)


def _is_file(place: str) -> bool:
    packed = Path(place).with_suffix("") if Path(place).suffix.lower() in (".gz", ".zst") else Path(place)
    return packed.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".xlsx")
