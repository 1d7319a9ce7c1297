"""The datasets of one connection: those it names, those of its document, and the lists nested in their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.answers.paging import PagingSettings
from tongqu.kit.answers.rows import Rows
from tongqu.kit.http.client import Http
from tongqu.kit.lists.endpoint import Bounds, Endpoint
from tongqu.kit.lists.parents import targets
from tongqu.kit.lists.settings import ListSettings
from tongqu.kit.patterns import wanted

_PARENTS_TRIED = 5


@dataclass(frozen=True)
class Listed:
    """One dataset: an endpoint, and the arrays of its records whose elements are the rows."""

    name: str
    endpoint: Endpoint
    inside: tuple[str, ...] = ()


class Catalog:
    """Finds datasets by name and knows how their records become rows."""

    def __init__(
        self,
        datasets: Mapping[str, ListSettings],
        http: Http,
        paging: PagingSettings | None = None,
        sample_pages: int = 1,
    ):
        """`paging` is for datasets that say nothing else; `sample_pages` are looked at to find unknown fields."""
        self.http = http
        paging = paging or PagingSettings()
        self._endpoints = {name: Endpoint(name, one, http, paging, sample_pages) for name, one in datasets.items()}
        self._rows: dict[str, Rows] = {}
        for name, one in datasets.items():
            if one.parent and one.parent.dataset not in datasets:
                raise InvalidSettingsError(
                    f"datasets.{name}: there is no parent {one.parent.dataset!r}", path=f"datasets.{name}.parent",
                    hint=f"datasets: {', '.join(datasets)}",
                )  # fmt: skip

    def names(self) -> list[str]:
        """The names of the datasets that need no look at any record."""
        return list(self._endpoints)

    def listed(self, name: str) -> Listed:
        """The dataset of that very name."""
        return Listed(name, self._endpoints[name])

    def matching(self, patterns: Sequence[str] | None) -> list[Listed]:
        """The datasets whose names match, lists in their records among them. Those of a document that need values
        that nobody gave are not listed."""
        found = []
        for name, endpoint in self._endpoints.items():
            if wanted(name, patterns):
                found.append(Listed(name, endpoint))
            if endpoint.settings.nested == "children" and _below(name, patterns):
                found += [one for one in self._children(Listed(name, endpoint)) if wanted(one.name, patterns)]
        return found

    def find(self, name: str) -> Listed | None:
        """The dataset of a name, also one in another's records; None if there is none."""
        if name in self._endpoints:
            return self.listed(name)
        for above, endpoint in self._endpoints.items():
            if endpoint.settings.nested == "children" and name.startswith(f"{above}."):
                return Listed(name, endpoint, tuple(name[len(above) + 1 :].split(".")))
        return None

    def parent(self, listed: Listed) -> Listed | None:
        """The dataset whose records fill the path's braces."""
        told = listed.endpoint.settings.parent
        return self.listed(told.dataset) if told else None

    def kept(self, listed: Listed) -> list[pa.Field]:  # type: ignore[type-arg]  # fields of several types
        """The columns that records get from their parent."""
        told, parent = listed.endpoint.settings.parent, self.parent(listed)
        if told is None or parent is None:
            return []
        schema = self.rows(parent).schema
        names = told.keep or told.values
        return [schema.field(column).with_name(name).with_nullable(False) for name, column in names.items()]

    def rows(self, listed: Listed) -> Rows:
        """How its records become rows, found by looking where the fields are not given."""
        if listed.name not in self._rows:
            endpoint = listed.endpoint
            known = bool(endpoint.settings.fields) and endpoint.settings.trust
            bounds = None if known else self.bounds(listed)
            found = endpoint.child(listed.inside, bounds) if listed.inside else endpoint.rows(bounds)
            self._rows[listed.name] = found
        return self._rows[listed.name]

    def bounds(self, listed: Listed) -> Bounds | None:
        """What the sample of a dataset is asked for: its first parent that has any records; None if there is none."""
        if self.parent(listed) is None:
            return Bounds()
        tried: Bounds | None = None
        for number, target in enumerate(targets(self, listed, Bounds(), None)):
            tried = target.bounds
            if number >= _PARENTS_TRIED or any(listed.endpoint.sample(target.bounds)):
                break
        return tried

    def _children(self, listed: Listed) -> list[Listed]:
        rows = self.rows(listed)
        found = []
        for name in rows.shape.dropped:
            child = Listed(f"{listed.name}.{name}", listed.endpoint, (*listed.inside, name))
            found += [child, *self._children(child)]
        return found

    def close(self) -> None:
        """Close its connections."""
        self.http.close()


def _below(name: str, patterns: Sequence[str] | None) -> bool:
    """Whether a pattern could mean a list in the records of a dataset."""
    takes = [one for one in patterns or () if not one.startswith("!")]
    return not takes or any(one.startswith(f"{name}.") or "*" in one or "?" in one for one in takes)
