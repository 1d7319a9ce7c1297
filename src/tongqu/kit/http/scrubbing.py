"""Takes secrets and personal data out of what is recorded, the same way each time."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

from tongqu.core.errors import AnswerError
from tongqu.kit.http.request import encoded
from tongqu.kit.http.settings import HttpSettings
from tongqu.meaning.masks import Mask, masked_value

HIDDEN = "***"
_SECRET = re.compile(
    r"(?:^|[_.-])(?:password|passwd|pwd|secret|signature|sign|access_?token|refresh_?token|id_?token|auth_?token"
    r"|session_?token|api_?key|access_?key|private_?key|authorization|app_?secret|corp_?secret|jsessionid)$",
    re.IGNORECASE,
)
_DECIMAL = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PRIVATE_HEADERS = {
    "set-cookie", "cookie", "authorization", "proxy-authorization", "www-authenticate", "x-csrf-token", "date",
}  # fmt: skip
_SHORTEST = 4
_SURE = 8
_CSV = ("text/csv", "text/tab-separated-values")


class Scrubbing:
    """Scrubs texts, parameters, headers and bodies by the secrets and masks of a connection's settings."""

    def __init__(self, settings: HttpSettings):
        self._masks: Mapping[str, Mask] = settings.record.masks if settings.record else {}
        found = {one for secret in _secrets(settings) for one in _forms(secret) if len(one) >= _SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without the connection's secrets, in whatever form they are written; short ones as whole words."""
        for secret in self._secrets:
            if len(secret) >= _SURE:
                text = text.replace(secret, HIDDEN)
            elif secret in text:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
        return text

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Parameters without secrets, personal data masked."""
        return [(name, self._value((name,), value)) for name, value in pairs]

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers fit to be kept."""
        shown = {k.lower(): v for k, v in headers.items()}
        return {k: self.text(v) for k, v in shown.items() if k not in _PRIVATE_HEADERS and not _is_secret(k)}

    def body(self, content: bytes, content_type: str) -> bytes:
        """A body without secrets, personal data masked. Raises AnswerError where there are masks and it is of a type
        that they cannot be found in."""
        if not content:
            return content
        kind = content_type.partition(";")[0].strip().lower()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            if self._masks:
                raise _unmaskable(kind) from None
            return content
        if kind == "application/x-www-form-urlencoded":
            return encoded(self.pairs(parse_qsl(text, keep_blank_values=True))).encode()
        masked = self._json(text)
        if masked is None and self._masks:
            if kind.endswith("xml") or text.lstrip()[:1] == "<":
                masked = self.text(self._xml(text))
            elif kind in _CSV:
                masked = self._table(text, "\t" if kind == _CSV[1] else ",")
            else:
                raise _unmaskable(kind)
        return (self.text(text) if masked is None else masked).encode()

    def _json(self, text: str) -> str | None:
        """A JSON text or lines of JSON with values replaced; numbers stay as written. None if it is neither."""
        try:
            return _written(self._walked((), json.loads(text, parse_float=_Number, parse_int=_Number)))
        except (ValueError, RecursionError):
            pass
        try:
            lines = [json.loads(line, parse_float=_Number, parse_int=_Number) for line in text.splitlines() if line]
        except (ValueError, RecursionError):
            return None
        return "".join(_written(self._walked((), line)) + "\n" for line in lines)

    def _walked(self, path: tuple[str, ...], value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._walked((*path, name), one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._walked(path, one) for one in value]
        return self._value(path or ("",), value)

    def _value(self, path: tuple[str, ...], value: Any) -> Any:
        if _is_secret(path[-1]) and value not in (None, "") and not isinstance(value, bool):
            return HIDDEN
        mask = self._masks.get(path[-1]) or self._masks.get(".".join(path))
        if value is None or isinstance(value, bool):
            return value
        if mask is None:
            clean = self.text(value)
            return value if clean == value else clean
        if mask.with_ in ("round", "bucket"):
            return _Number(masked_value(mask, float(value))) if _DECIMAL.fullmatch(str(value)) else HIDDEN
        made = masked_value(mask, str(value))
        return _Number(made) if isinstance(value, _Number) and re.fullmatch(r"-?\d+", str(made)) else made

    def _xml(self, text: str) -> str:
        for name, mask in self._masks.items():
            last = re.escape(name.rpartition(".")[2])
            element = re.compile(rf"(<(?:[\w.-]+:)?{last}(?:\s[^<>]*)?>)([^<]*)(</)")
            attribute = re.compile(rf"(\s{last}\s*=\s*[\"'])([^\"'<]*)()")
            for pattern in (element, attribute):
                text = pattern.sub(lambda m, mask=mask: f"{m[1]}{masked_value(mask, m[2]) or ''}{m[3]}", text)  # type: ignore[misc]
        return text

    def _table(self, text: str, delimiter: str) -> str:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
        made = io.StringIO()
        writer = csv.writer(made, delimiter=delimiter, lineterminator="\n")
        for number, row in enumerate(rows):
            writer.writerow(row if number == 0 else [self._value((n,), v) for n, v in zip(rows[0], row, strict=False)])
        return made.getvalue()


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _written(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _is_secret(name: str) -> bool:
    return _SECRET.search(_CAMEL.sub("_", name)) is not None


def _secrets(value: object) -> list[str]:
    """Every secret in settings, and the values of headers and parameters that are named as if they were one."""
    if hasattr(value, "get_secret_value"):
        return [str(value.get_secret_value())]
    if isinstance(value, Mapping):
        return [
            one
            for name, v in value.items()
            for one in ([v] if _is_secret(str(name)) and isinstance(v, str) else _secrets(v))
        ]
    if isinstance(value, list | tuple):
        return [one for v in value for one in _secrets(v)]
    fields = getattr(type(value), "model_fields", ())
    return [one for name in fields for one in _secrets(getattr(value, name))]


def _forms(secret: str) -> set[str]:
    return {
        secret,
        quote(secret, safe=""),
        quote(secret),
        b64encode(secret.encode()).decode("ascii"),
        json.dumps(secret)[1:-1],
    }


def _unmaskable(kind: str) -> AnswerError:
    return AnswerError(
        f"personal data cannot be masked in an answer of type {kind or 'unknown'}, so it is not recorded",
        hint="JSON, XML, CSV and forms can be masked; leave `record.masks` away if the answers hold none",
    )
