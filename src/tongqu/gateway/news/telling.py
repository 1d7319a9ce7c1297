"""What one caller may be told of a change: nothing of APIs it cannot read, and of fields that it does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.core.policy import Actor
from tongqu.gateway.contract.lifecycle import day
from tongqu.gateway.publication import DRAFT, Api, Publication, age
from tongqu.store.news import Item

TITLES: Mapping[str, Mapping[str, str]] = {
    "version.published": {"en": "{path} is published", "zh": "{path} 已发布"},
    "version.changed": {"en": "{path} has changed; callers go on as before", "zh": "{path} 有变化，不影响现有调用"},
    "version.broken": {"en": "{path} has changed, and callers may break", "zh": "{path} 有不兼容的变化"},
    "version.deprecated": {"en": "{path} should no longer be used", "zh": "{path} 不再推荐使用"},
    "version.sunset": {"en": "{path} will be withdrawn on {sunset}", "zh": "{path} 将于 {sunset} 下线"},
    "version.ends": {"en": "{path} ends in {days} day(s): {sunset}", "zh": "{path} 还有 {days} 天下线：{sunset}"},
    "version.removed": {"en": "{path} has been withdrawn", "zh": "{path} 已下线"},
}  # fmt: skip
"""What stands above each kind, by language."""


def told(publication: Publication, actor: Actor, item: Item, language: str = "en", *, known: bool = False
         ) -> dict[str, Any] | None:  # fmt: skip
    """The item as this caller is told it, or None. `known`: it subscribed to the API while it could read it, so that it
    hears of its end."""
    api = _readable(publication, actor, item)
    if api is None and not (known and item.kind == "version.removed"):
        return None
    document = item.document
    changes = [one for change in document.get("changes", ()) if (one := _shown(api, actor, item, change))]
    if document.get("changes") and not changes:
        return None
    path = f"/api/{item.version}/{item.api}"
    words = {"path": path, "sunset": document.get("sunset") or "", "days": document.get("days", "")}
    made = {
        "id": item.id, "type": item.kind, "at": item.at, "api": item.api, "version": item.version, "path": path,
        "title": TITLES[item.kind][language].format_map(words),
    }  # fmt: skip
    kept = {name: document[name] for name in ("deprecated", "sunset", "successor", "days") if document.get(name)}
    return {**made, **kept, **({"changes": changes} if changes else {})}


def readable(publication: Publication, actor: Actor, name: str) -> bool:
    """Whether a caller may read some version of an API."""
    return any(
        one == name and not version.endswith(DRAFT) and api.policy.decide(actor, "read").allowed
        for (version, one), api in publication.apis.items()
    )


def _readable(publication: Publication, actor: Actor, item: Item) -> Api | None:
    """The version that the item is about, or the newest of the API, that the caller may read."""
    own = publication.apis.get((item.version, item.api))
    if own is not None:
        return own if own.policy.decide(actor, "read").allowed else None
    others = [api for (version, name), api in publication.apis.items() if name == item.api and DRAFT not in version]
    seen = [api for api in others if api.policy.decide(actor, "read").allowed]
    return max(seen, key=lambda api: age(api.version), default=None)


def _shown(api: Api | None, actor: Actor, item: Item, change: Mapping[str, Any]) -> dict[str, Any] | None:
    """A change as the caller is told it. Who else may call is nobody's business; a field is told to who sees it, one
    that is gone to who used it lately."""
    if api is None or change["side"] == "access":
        return None
    field, own = change["field"], (api.version, api.name) == (item.version, item.api)
    sees = own and field in api.policy.decide(actor, "read").fields
    if field and not sees and actor.id not in change.get("consumers", ()):
        return None
    return {name: change[name] for name in ("code", "at", "field", "before", "after", "breaking")}


def days_left(sunset: str, now: float) -> float:
    """Days until a version is withdrawn."""
    return (day(sunset).timestamp() - now) / 86_400
