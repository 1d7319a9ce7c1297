"""URLs and settings of files."""

from __future__ import annotations

import pytest

from tongqu.connectors.file import connector
from tongqu.connectors.file.settings import FileSettings
from tongqu.core.errors import (
    InvalidSettingsError,
)

# ---- settings


def test_urls() -> None:
    parse = connector.from_url
    assert parse("file:a/x.csv").path == "a/x.csv"  # type: ignore[attr-defined]  # Settings of this connector
    assert parse("file:///a/x.csv").path == "/a/x.csv"  # type: ignore[attr-defined]  # Settings of this connector
    made = parse("file:%E6%95%B0.csv?delimiter=tab&null=NA&null=&types=a:string,b:decimal(3,1)&partition=x,y")
    assert made.model_dump(exclude_defaults=True) == {
        "path": "数.csv", "delimiter": "\t", "null": ("NA", ""), "types": {"a": "string", "b": "decimal(3,1)"},
        "partition": ("x", "y"),
    }  # fmt: skip


@pytest.mark.parametrize("url", ["file://host/x.csv", "file:", "file:x.csv?colour=red", "file:x.csv?delimiter=ab"])
def test_wrong_urls_are_explained(url: str) -> None:
    with pytest.raises(InvalidSettingsError):
        connector.from_url(url)


def test_a_plus_in_a_url_is_a_plus() -> None:
    found = connector.from_url("sftp://me@host/x.csv?host_key=SHA256:a+b/c&null=n%20a")
    assert isinstance(found, FileSettings)
    assert (found.host_key, found.null) == ("SHA256:a+b/c", ("n a",))
