"""A document that describes an API: its text read, its references followed in it and in documents read with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin

from tongqu.core.errors import InvalidSettingsError

LONGEST = 64 << 20
_DEEPEST = 200
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method of one path, with the parameters of both."""

    path: str
    method: str
    raw: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """For reports: `GET /orders`."""
        return f"{self.method.upper()} {self.path}"

    @property
    def responses(self) -> Mapping[str, Any]:
        """The answers that are described by their codes, which YAML may have as numbers."""
        return {str(code): one for code, one in as_mapping(self.raw.get("responses")).items()}

    @property
    def words(self) -> str:
        """What it is said to do."""
        return " ".join(str(self.raw.get(k) or "") for k in ("operationId", "summary", "description"))


class Document:
    """An OpenAPI 3.0/3.1 or Swagger 2 document. Anything in it may be missing, of a wrong type or circular."""

    def __init__(self, raw: Mapping[str, Any], where: str, others: Mapping[str, Any] | None = None):
        """`others` are documents that it refers to, by their addresses (see `parts.gathered`)."""
        self.raw = raw
        self.where = where
        self._others = others or {}
        self.flattened: dict[str, Any] = {}
        """Schemas by reference that were made flat already (`schemas.flat`)."""

    @property
    def version(self) -> str:
        """`2.0`, `3.0.3`, `3.1.0`."""
        return str(self.raw.get("swagger") or self.raw.get("openapi") or "")

    @property
    def old(self) -> bool:
        """Whether it is Swagger 2."""
        return self.version.startswith("2")

    @property
    def title(self) -> str:
        """The API's name."""
        return str(as_mapping(self.raw.get("info")).get("title") or "")

    def base_url(self) -> str:
        """The API's address: the first server, its variables at their defaults; relative ones against the document's
        own address. Empty if none is told."""
        own = self.where if self.where.startswith(("http://", "https://")) else ""
        if self.old:
            host = str(self.raw.get("host") or "")
            schemes = self.raw.get("schemes") or ["https"]
            scheme = "https" if "https" in schemes else str(schemes[0])
            base = str(self.raw.get("basePath") or "")
            return f"{scheme}://{host}{base}".rstrip("/") if host else urljoin(own, base).rstrip("/") if own else ""
        servers = self.raw.get("servers")
        first = as_mapping(servers[0]) if isinstance(servers, list) and servers else {}
        url = str(first.get("url") or "")
        for name, variable in as_mapping(first.get("variables")).items():
            url = url.replace(f"{{{name}}}", str(as_mapping(variable).get("default") or ""))
        if url.startswith(("http://", "https://")):
            return url.rstrip("/")
        return urljoin(own, url or "/").rstrip("/") if own else ""

    def operations(self) -> Iterator[Operation]:
        """All methods of all paths."""
        for path, item in as_mapping(self.raw.get("paths")).items():
            found = as_mapping(self.resolved(item))
            shared = found.get("parameters")
            for method in _METHODS:
                raw = found.get(method)
                if isinstance(raw, Mapping):
                    own = [*(_listed(shared)), *(_listed(raw.get("parameters")))]
                    parameters = {}
                    for one in own:
                        parameter = as_mapping(self.resolved(one))
                        parameters[(str(parameter.get("in")), str(parameter.get("name")))] = parameter
                    yield Operation(str(path), method, raw, tuple(parameters.values()))

    def resolved(self, node: Any) -> Any:
        """What a reference means, through references to references; None for one that leads out of the document, to
        nothing, or in a circle."""
        for _ in range(_DEEPEST):
            if not isinstance(node, Mapping) or not isinstance(node.get("$ref"), str):
                return node
            node = self._target(node["$ref"])
        return None

    def foreign(self, node: Any) -> str:
        """The reference of a node that leads to a document that was not read; empty if it does not."""
        reference = node.get("$ref") if isinstance(node, Mapping) else None
        known = not isinstance(reference, str) or reference.partition("#")[0] in ("", *self._others)
        return "" if known else str(reference)

    def _target(self, reference: str) -> Any:
        place, _, fragment = reference.partition("#")
        node: Any = self._others.get(place) if place else self.raw
        for key in filter(None, unquote(fragment).split("/")):
            plain = key.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping):
                node = node.get(plain)
            elif isinstance(node, list) and plain.isdigit() and int(plain) < len(node):
                node = node[int(plain)]
            else:
                return None
        return node


def read_document(text: bytes, where: str) -> Document:
    """The document of a JSON or YAML text. Raises InvalidSettingsError for what is neither, too long, or describes no
    API of a known version."""
    raw = parsed_text(text, where)
    if not isinstance(raw, Mapping) or not ("swagger" in raw or "openapi" in raw):
        raise InvalidSettingsError(
            f"{where} is no OpenAPI document: it has neither `openapi` nor `swagger`", path=where,
            hint="give the JSON or YAML itself, not the page that shows it",
        )  # fmt: skip
    found = Document(raw, where)
    if not found.version.startswith(("2.", "3.")):
        raise InvalidSettingsError(f"{where} is OpenAPI {found.version}", path=where, hint="known are 2.0, 3.0 and 3.1")
    return found


def parsed_text(text: bytes, where: str) -> Any:
    """The value of a JSON or YAML text; see `read_document`."""
    if len(text) > LONGEST:
        raise InvalidSettingsError(f"{where} is longer than {LONGEST >> 20} MiB", path=where)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InvalidSettingsError(f"{where} nests too deep", path=where) from error
    except ValueError:
        pass
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text.decode("utf-8", "replace"))
    except (YAMLError, RecursionError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidSettingsError(f"{where} is neither JSON nor YAML: {said}", path=where) from error


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
