"""The files that the pages under `/docs` load: Swagger UI out of its package, and our own two."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from tongqu.core.errors import MissingDriverError

_PACKAGE = "fastapi_offline"
_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8", "swagger-ui.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8", "docs.css": "text/css; charset=utf-8",
}  # fmt: skip
_OURS = {"docs.js": "page.js", "docs.css": "page.css"}


@lru_cache(maxsize=8)
def asset(name: str) -> tuple[str, bytes, bytes] | None:
    """Its media type, its bytes, and the same with gzip; None if there is no such file."""
    if name not in _TYPES:
        return None
    body = (_ours(name) if name in _OURS else _theirs(name)).read_bytes()
    return _TYPES[name], body, gzip.compress(body, 6, mtime=0)


def _ours(name: str) -> Path:
    return Path(__file__).with_name(_OURS[name])


def _theirs(name: str) -> Path:
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingDriverError(
            f"the documentation page needs the package {_PACKAGE!r}, which is not installed",
            hint="pip install 'tongqu[gateway]'", params={"extra": "gateway", "module": _PACKAGE},
        )  # fmt: skip
    return Path(next(iter(found.submodule_search_locations))) / "static" / name
