"""Makes the documents of a version for a caller, and keeps them while nothing changes for anybody with its rights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.docs.asyncapi import asyncapi
from tongqu.gateway.docs.examples import Examples
from tongqu.gateway.docs.openapi import openapi
from tongqu.gateway.docs.postman import postman
from tongqu.gateway.docs.sights import sights
from tongqu.gateway.mock.worlds import Mocks
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Publication
from tongqu.gateway.reading import Reader

FORMATS = {"openapi": "{version}.json", "asyncapi": "{version}.asyncapi.json", "postman": "{version}.postman.json"}
"""What there is of each version, by the end of its address."""
_KEPT = 64


@dataclass(frozen=True)
class Wish:
    """Which document: of a version, in one of `FORMATS`, in `zh` or `en`; `address` is the gateway's."""

    version: str
    format: str
    language: str
    address: str


class Documents:
    """The documents of publications. `reader` and `mocks` make their examples."""

    def __init__(self, reader: Reader, mocks: Mocks) -> None:
        self._examples = Examples(reader, mocks)
        self._kept: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()

    async def document(self, publication: Publication, actor: Actor, wish: Wish) -> dict[str, Any]:
        """One document. Raises Problem `auth.missing` or `path.unknown` where the caller may use nothing of the
        version, or there is none: the same."""
        version, language, format = wish.version, wish.language, wish.format
        seen = sights(publication, version, actor, language)
        if not seen:
            raise Problem("path.unknown" if actor.known else "auth.missing")
        if format == "asyncapi":
            return asyncapi(publication, version, seen, language, wish.address)
        prints = tuple(sight.print for sight in seen)
        key = (id(publication), publication.version, version, language, prints)
        found = self._kept.get(key)
        if found is None:
            examples: Mapping[str, Any] = {
                sight.api.name: await self._examples.of(sight, publication, actor) for sight in seen
            }
            found = self._kept[key] = openapi(publication, version, seen, language, examples)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return postman(found, wish.address) if format == "postman" else found

    @staticmethod
    def index(publication: Publication, actor: Actor, language: str) -> dict[str, Any]:
        """The versions of which the caller may use something, and where their documents are."""
        versions = [one for one in publication.versions if sights(publication, one, actor, language)]
        return {
            "versions": [
                {
                    "version": one,
                    "formats": {word: f"/openapi/{end.format(version=one)}" for word, end in FORMATS.items()},
                }
                for one in versions
            ]
        }
