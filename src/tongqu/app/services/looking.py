"""Looks whether files are there, for schedules that wait for them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

from tongqu.app.project.schedules import OnFile
from tongqu.app.services.ends import Ends
from tongqu.app.services.scheduling import Look
from tongqu.core.errors import NotFoundError, learnt


def looking(ends: Ends) -> Look:
    """Looks through the connection itself, wherever its files are; nothing is read, moved or remembered."""

    def look(told: OnFile) -> str:
        end = ends.end(told.connection)
        source = replace(end, lodging=None).source()  # without its folder in the home: it remembers nothing
        found = {}
        try:
            with learnt(), suppress(NotFoundError):
                for dataset in source.datasets([told.pattern]):
                    found[dataset.name] = source.horizon(dataset, "", None)
        finally:
            source.close()
        there = {name: position for name, position in found.items() if position is not None}
        return json.dumps(there, sort_keys=True, default=str) if there else ""

    return look
