"""The calls of one cluster beside reading pages and writing: what it is, and what its indices hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings
from tongqu.core.errors import AnswerError, ConnectorError
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.client import Http

_JSON = {"Accept": "application/json", "Content-Type": "application/json"}
_POINTS_SINCE = (7, 12)
"""The version since which a point in time can be sorted by `_shard_doc`."""


class Cluster(Http):
    """The cluster as an HTTP client; errors say what the cluster says."""

    def __init__(self, settings: ElasticsearchSettings, folder: Path | None):
        super().__init__(settings, folder=folder)
        self._about: dict[str, Any] | None = None

    def send(self, call: Call) -> Reply:
        """See Http.send."""
        try:
            return super().send(call)
        except ConnectorError as error:
            said = reason(error.answer)
            error.hint = error.hint or (f"the cluster says: {said}" if said else "")
            raise

    def ask(self, method: str, path: str, body: Any = None, *, repeat: Repeat = Repeat.SAFE) -> dict[str, Any]:
        """One call with JSON; raises what calls raise, and AnswerError for what is no JSON object."""
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        url = self.url(path)
        reply = self.send(Call(method, url, (), _JSON, content, repeat, keep_seconds=0))
        try:
            found = json.loads(reply.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            where = url.partition("?")[0]
            raise AnswerError(f"{where}: the answer is no JSON object", path=where, hint="is this Elasticsearch?")
        return found

    def about(self) -> tuple[str, str]:
        """Distribution (`elasticsearch`, `opensearch`) and version; asked for once, which tries the login."""
        if self._about is None:
            self._about = self.ask("GET", "/")
        told = self._about.get("version")
        if not isinstance(told, Mapping):
            raise AnswerError(f"{self.url('')} is no Elasticsearch or OpenSearch", path=self.url(""))
        return str(told.get("distribution", "elasticsearch")), str(told.get("number", ""))

    def has_points(self) -> bool:
        """Whether reads can be held to one instant and cut by `_shard_doc`."""
        distribution, number = self.about()
        version = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
        return distribution == "elasticsearch" and version >= _POINTS_SINCE

    def mappings(self, index: str = "") -> dict[str, Any]:
        """The mappings by index: of all indices, or those that a name or pattern means. Raises NotFoundError."""
        return self.ask("GET", f"/{named(index)}/_mapping" if index else "/_mapping")


def named(index: str) -> str:
    """An index or pattern as part of a path."""
    return quote(index, safe="*,")


def reason(answer: bytes) -> str:
    """What the cluster says in a refusal."""
    try:
        held = json.loads(answer)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    if not isinstance(held, dict):
        return str(held)[:300]
    cause = held.get("caused_by")
    told = [held.get("reason"), cause.get("reason") if isinstance(cause, dict) else None]
    return ": ".join(dict.fromkeys(str(one) for one in told if one))[:300]
