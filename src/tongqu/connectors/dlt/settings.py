"""Settings of a dlt source."""

from __future__ import annotations

from typing import Any

from tongqu.core.settings import titled
from tongqu.kit.foreign.settings import ForeignSettings
from tongqu.kit.foreign.settings import from_url as parsed

DLT = "dlt"


class DltSettings(ForeignSettings):
    """A source function of an installed package, or of a folder of one's own; `config` are its arguments."""

    source: str = titled("源函数", "Source", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Module and function: `dlt.sources.rest_api:rest_api_source`. Its arguments stand in `config`."""
    files: str = titled("源代码文件夹", "Files", "")
    """Folder that holds the module, for verified sources that were copied into the project (`dlt init`)."""
    credentials: dict[str, Any] = titled("凭据", "Credentials", {})
    """Values that the source asks dlt for (`dlt.secrets`), by their dotted names: `{sources.github.access_token:
    "${secret:github}"}`."""

    @property
    def program(self) -> str:
        """See ForeignSettings.program."""
        return self.source

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"dlt:{super().identity()}"

    def secrets(self) -> tuple[str, ...]:
        """See ForeignSettings.secrets; all credentials are."""
        own = {value for value in self.credentials.values() if isinstance(value, str) and value}
        return tuple(sorted({*super().secrets(), *own}, key=len, reverse=True))


def from_url(url: str) -> DltSettings:
    """`dlt:module:function?files=sources&config.start=2026-01-01`; see `kit.foreign.settings`."""
    return parsed(DltSettings, url, "source")
