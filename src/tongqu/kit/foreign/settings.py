"""Settings that all connections have which are made by somebody else's program."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import field_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Endpoint, Names, Settings, titled

_SECRET = re.compile(r"pass|secret|token|key|credential|auth|pwd|dsn", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LEAST = 4
S = TypeVar("S", bound="ForeignSettings")


class Limits(Settings):
    """What the program may use."""

    memory_mb: int = titled("内存(MB)", "Memory, MB", 0, ge=0)
    """Most address space of each of its processes; 0 for no limit."""
    open_files: int = titled("打开文件数", "Open files", 1024, ge=16)
    """Most open files and connections."""
    cpu_seconds: int = titled("CPU 时间(秒)", "CPU, seconds", 0, ge=0)
    """Most processor time of each of its processes; 0 for no limit."""
    silent_seconds: float = titled("静默时限(秒)", "Silence, seconds", 600.0, gt=0)
    """The program is ended if it says nothing for so long."""
    start_seconds: float = titled("应答时限(秒)", "Answer, seconds", 120.0, gt=0)
    """Most time to say what it has (discovery, check)."""


class StreamSettings(Settings):
    """What is known better here than the program says of one of its streams."""

    key: Names = titled("键", "Key", ())
    """The fields that tell records apart. Left out: what the program says."""
    cursor: str = titled("游标", "Cursor", "")
    """The field by which the program finds what is new (Singer's replication key). Left out: what the program says."""
    fields: dict[str, str] = titled("字段", "Fields", {})
    """Types of single fields (`{price: "decimal(12,2)"}`), in place of those that the program says."""


class ForeignSettings(Endpoint):
    """A program that was installed by `tongqu connectors install`, and what it is given."""

    package: str = titled("软件包", "Package", "")
    """Name of the installed package (`tongqu connectors installed` lists them). Left out: called as the program."""
    config: dict[str, Any] = titled("配置", "Configuration", {})
    """The program's own configuration, as its documentation says; values may be `${secret:NAME}`. It is handed over in
    a file that only the program can read and that is deleted afterwards."""
    account: str = titled("来源标识", "Account", "")
    """A name for what is read or written, which tells it from others of the same program: positions belong to it. Left
    out: a digest of `config` without its secrets, so that a run after a change of `config` begins anew."""
    streams: dict[str, StreamSettings] = titled("流", "Streams", {})
    """What is known better here than the program says, by stream."""
    others: str = titled("未知字段", "Unknown fields", "error", pattern="^(error|ignore)$")
    """What a field means that the schema lacks: its record is quarantined (`error`) or it is left out (`ignore`)."""
    sample: int = titled("采样行数", "Sampled records", 1000, ge=1)
    """How many records are looked at to find the fields of a stream whose schema the program does not say."""
    environment: dict[str, str] = titled("环境变量", "Environment", {})
    """Variables that the program needs; it inherits none of ours."""
    network: bool = titled("允许联网", "Network", True)
    """Whether the program may use the network. `false` cuts it off (Linux); where it may, its connections are its own:
    egress is not enforced."""
    limits: Limits = titled("资源限制", "Limits", Limits())
    """What the program may use."""
    installed: str = titled("安装目录", "Installed in", "")
    """Folder that holds installed packages. Left out: `foreign` in the project's home."""

    @field_validator("package")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value and not _NAME.fullmatch(value):
            raise ValueError("the name of a package, without version")
        return value

    @property
    def program(self) -> str:
        """The program's name, as people know it."""
        raise NotImplementedError(type(self).__name__)

    def of(self, stream: str) -> StreamSettings:
        """What is said of a stream."""
        return self.streams.get(stream, StreamSettings())

    def identity(self) -> str:
        """See Endpoint.identity: the program, and the account or a digest of what it is given, secrets left out."""
        if self.account:
            return f"{self.program}@{self.account}"
        plain = json.dumps(_open(self.config), sort_keys=True, default=str)
        return f"{self.program}#{hashlib.sha256(plain.encode()).hexdigest()[:12]}"

    @property
    def reach(self) -> str:
        """What a check says of the program's network."""
        return "egress: not enforced, the program opens its own connections" if self.network else "network: cut off"

    def hidden(self, text: str) -> str:
        """A text that the program wrote, without secrets."""
        for secret in self.secrets():
            text = text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")
        return text

    def secrets(self) -> tuple[str, ...]:
        """The texts that must not be shown when the program speaks."""
        found = {value for value in self.environment.values() if len(value) >= _LEAST}
        return tuple(sorted(found | set(_hidden(self.config)), key=len, reverse=True))


def _open(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _open(one) for name, one in value.items() if not _SECRET.search(str(name))}
    return [_open(one) for one in value] if isinstance(value, list | tuple) else value


def _hidden(value: Any, secret: bool = False) -> list[str]:
    if isinstance(value, Mapping):
        return [
            one for name, inner in value.items() for one in _hidden(inner, secret or bool(_SECRET.search(str(name))))
        ]
    if isinstance(value, list | tuple):
        return [one for inner in value for one in _hidden(inner, secret)]
    return [value] if secret and isinstance(value, str) and len(value) >= _LEAST else []


def from_url(model: type[S], url: str, field: str) -> S:
    """Settings from `scheme:PROGRAM?config.start_date=2026-01-01&package=NAME`: keys with points lead into settings of
    settings, `true`, `false`, numbers and JSON are values. Raises InvalidSettingsError."""
    parts = urlsplit(url)
    program = unquote((parts.netloc + parts.path).strip("/"))
    if not program:
        raise InvalidSettingsError(
            f"the URL names no program: {parts.scheme}:",
            path=parts.scheme,
            hint=f"{parts.scheme}:NAME?config.KEY=VALUE",
        )
    values: dict[str, Any] = {field: program}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        *above, last = name.split(".")
        inner = values
        for one in above:
            inner = inner.setdefault(one, {})
        inner[last] = _value(text) if above and above[0] == "config" else text
    return model.parse(values, f"{parts.scheme}:{program}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
