"""Settings of an Airbyte source."""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import urlsplit

from pydantic import model_validator

from tongqu.core.settings import titled
from tongqu.kit.foreign.settings import ForeignSettings
from tongqu.kit.foreign.settings import from_url as parsed

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MANIFEST = re.compile(r".*\.ya?ml")
CDK, RUNNER = "airbyte-cdk", "source-declarative-manifest"


class AirbyteSettings(ForeignSettings):
    """A manifest that `airbyte-cdk` runs, or a source that is a package of its own."""

    manifest: str = titled("清单文件", "Manifest", "")
    """File of a low-code manifest (`manifest.yaml`), run by the installed package `airbyte-cdk`."""
    components: str = titled("自定义组件", "Components", "")
    """File of the manifest's own Python components (`components.py`), if it has some."""
    source: str = titled("源程序", "Source", "")
    """Name of the program of a source that is a package: `source-faker`, of the package `airbyte-source-faker`."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.manifest) == bool(self.source):
            raise ValueError("either `manifest` or `source` is needed")
        if self.source and not _PROGRAM.fullmatch(self.source):
            raise ValueError("source: the name of a program, without folder")
        return self

    @property
    def program(self) -> str:
        """See ForeignSettings.program: a manifest is called as its file."""
        return self.source or self.manifest

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"airbyte:{super().identity()}"


def from_url(url: str) -> AirbyteSettings:
    """`airbyte:manifest.yaml?config.base_url=https://…`, or the program of a package: `airbyte:source-faker`."""
    manifest = _MANIFEST.fullmatch(urlsplit(url).path)
    return parsed(AirbyteSettings, url, "manifest" if manifest else "source")
