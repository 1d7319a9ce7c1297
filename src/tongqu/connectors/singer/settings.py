"""Settings of a Singer tap."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import model_validator

from tongqu.core.settings import titled
from tongqu.kit.foreign.settings import ForeignSettings
from tongqu.kit.foreign.settings import from_url as parsed

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class SingerSettings(ForeignSettings):
    """A tap that was installed by `tongqu connectors install`."""

    tap: str = titled("抽取程序", "Tap")
    """Name of the tap's program: `tap-github`."""
    catalog: str = titled("目录文件", "Catalog", "")
    """A catalog file in place of what the tap discovers, for taps that discover nothing."""
    catalog_option: Literal["--catalog", "--properties"] = titled("目录参数", "Catalog option", "--catalog")
    """How the tap takes its catalog; old ones want `--properties`."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not _PROGRAM.fullmatch(self.tap):
            raise ValueError("tap: the name of a program, without folder")
        return self

    @property
    def program(self) -> str:
        """See ForeignSettings.program."""
        return self.tap

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"singer:{super().identity()}"


def from_url(url: str) -> SingerSettings:
    """`singer:tap-jsonl?config.path=/data/orders.jsonl&config.stream_name=orders`; see `kit.foreign.settings`."""
    return parsed(SingerSettings, url, "tap")
