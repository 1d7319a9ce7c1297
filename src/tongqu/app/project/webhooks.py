"""Checks the section `webhooks`, and puts each entry under the APIs that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app.project.places import Key, Places, nearest
from tongqu.app.project.problems import parse
from tongqu.core.errors import InvalidSettingsError, TongquError, UnknownNameError

if TYPE_CHECKING:
    from tongqu.gateway.entry import ApiEntry


def with_webhooks(
    apis: Mapping[str, ApiEntry],
    section: Mapping[str, Any],
    written: Mapping[str, Any],
    places: Places,
    problems: list[TongquError],
) -> dict[str, ApiEntry]:
    """The APIs with their webhooks from both sections. `written` are all entries of `apis`, right or wrong; what is
    wrong with a webhook is added to `problems`."""
    found = dict(apis)
    if not section:
        return found
    from tongqu.gateway.webhooks.settings import SubscriptionEntry

    for name, values in section.items():
        key: Key = ("webhooks", name)
        entry = parse(SubscriptionEntry, values or {}, key, places, problems)
        for api in entry.apis if entry is not None else ():
            where = places.path((*key, "apis"))
            if api not in written:
                problems.append(
                    UnknownNameError(
                        f"there is no API {api!r}", path=where, hint=nearest(api, list(written)), params={"name": api}
                    )
                )
            elif api in found and entry is not None:
                known = found[api]
                if name in known.webhooks:
                    problems.append(
                        InvalidSettingsError(
                            f"the API {api!r} has a webhook {name!r} of its own", path=where,
                            hint="give one of them another name",
                        )
                    )  # fmt: skip
                    continue
                found[api] = known.model_copy(update={"webhooks": {**known.webhooks, name: entry.webhook}})
    return found
