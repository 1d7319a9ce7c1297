"""How an API wants instants to be written, as its document shows by an example, a pattern or in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PATTERN = re.compile(r"[yY]{4}[-/.年]?MM[-/.月]?[dD]{2}日?(?:[ T\\']*HH:?mm(?::?ss)?)?")
_EXAMPLE = re.compile(r"(\d{4})([-/.]?)(\d{2})([-/.]?)(\d{2})(?:( )(\d{2})(:?)(\d{2})(:?)(\d{2}))?")
_LETTERS = {"y": "%Y", "Y": "%Y", "M": "%m", "d": "%d", "D": "%d", "H": "%H", "m": "%M", "s": "%S"}
_MILLISECONDS = re.compile(r"毫秒|\bms\b|milli|13\s*位", re.IGNORECASE)
_SECONDS = re.compile(r"时间戳|\bunix\b|epoch|timestamp", re.IGNORECASE)


def written(parameter: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, str]:
    """The settings `format` and, where it says no zone, `timezone` of a parameter for an instant; none where it takes
    what ISO 8601 says, or nothing shows how. The zone is UTC until somebody says otherwise: a read that is behind the
    API's clock loses nothing."""
    said = " ".join(str(one.get("description") or "") for one in (parameter, schema))
    shown = str(parameter.get("example") or schema.get("example") or "")
    if schema.get("type") in ("integer", "number"):
        many = shown.isdigit() and len(shown) >= 13
        if many or _MILLISECONDS.search(said):
            return {"format": "epoch_ms"}
        return {"format": "epoch"} if _SECONDS.search(said) or shown.isdigit() else {}
    if schema.get("format") == "date":
        return {"format": "date", "timezone": "UTC"}
    found = _PATTERN.search(f"{said} {schema.get('pattern') or ''} {schema.get('format') or ''}")
    if found is not None:
        return _zoneless(
            re.sub(r"([yMdDHms])\1*", lambda m: _LETTERS[m[1].replace("Y", "y")], found[0].replace("YYYY", "yyyy"))
        )
    example = _EXAMPLE.fullmatch(shown)
    if example is None:
        return {}
    day = f"%Y{example[2]}%m{example[4]}%d"
    return _zoneless(f"{day} %H{example[8]}%M{example[10]}%S" if example[6] else day)


def _zoneless(pattern: str) -> dict[str, str]:
    pattern = pattern.replace("'", "")
    return {"format": "date" if pattern == "%Y-%m-%d" else pattern, "timezone": "UTC"}
