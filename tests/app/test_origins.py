"""What is served is the applied version; the files are only read for passwords that stood in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.app.services import origins
from tongqu.app.services.origins import Applied
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import tongqu

PROJECT = "project: plant\nconnections: {erp: {type: postgres, url: '%s'}}\n"


def applied(folder: Path, url: str) -> Applied:
    (folder / "tongqu.yaml").write_text(PROJECT % url, encoding="utf-8")
    assert tongqu(folder, "apply").code == 0
    return Applied(folder, "", Home(folder / "home"), Scrubber())


def test_a_password_comes_from_the_files(tmp_path: Path) -> None:
    project, _ = applied(tmp_path, "postgresql://me:hush-hush@erp/plant").load()
    assert project.connections["erp"]["url"] == "postgresql://me:hush-hush@erp/plant"


def test_files_are_not_read_where_nothing_was_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = applied(tmp_path, "postgresql://me:${secret:erp}@erp/plant")

    def read(*_: object) -> None:
        raise AssertionError("the files were read")

    monkeypatch.setattr(origins, "load", read)
    project, version = origin.load()
    assert (project.connections["erp"]["url"], version) == ("postgresql://me:${secret:erp}@erp/plant", "1")
