"""Examples for documents: made-up rows, as the caller would see them, masks and all. Never a row of the source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask
from tongqu.gateway.docs.sights import Sight
from tongqu.gateway.exchange import Notes
from tongqu.gateway.mock.worlds import Mocks
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Publication
from tongqu.gateway.reading import Reader

_ROWS = 2


class Examples:
    """Makes examples with the tables of `mocks` by the way of every reading."""

    def __init__(self, reader: Reader, mocks: Mocks) -> None:
        self._reader, self._mocks = reader, mocks

    async def of(self, sight: Sight, publication: Publication, actor: Actor) -> Mapping[str, Any]:
        """`rows` as the caller would be given them, and `row` with the fields that it may set; empty where none can be
        made."""
        pretended = self._mocks.world(publication, actor).quick
        api = pretended.api(sight.api.version, sight.api.name)
        if api is None:
            return {}
        given = {name: told.default for name, told in api.entry.source.parameters.items() if told.default is not None}
        ask = Ask(limit=_ROWS, arguments=given)
        try:
            answer = await self._reader.read(api, actor, ask, "json", Notes(), within=pretended, fresh=True)
        except (Problem, TongquError):
            return {}
        rows: list[dict[str, Any]] = json.loads(answer.body)
        if not rows:
            return {}
        made: dict[str, Any] = {"rows": rows}
        if sight.may("insert"):
            fields = sight.fields
            settable = sight.writable("insert")
            made["row"] = {
                name: value for name, value in rows[0].items() if name in settable and fields[name].mask is None
            }
        return made
