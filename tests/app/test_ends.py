"""A URL or a name becomes an end; what can be written down about it holds no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tongqu.app.project.load import Project, load
from tongqu.app.services.ends import Ends, rooted
from tongqu.core.errors import ConfigError, InvalidSettingsError, UnknownConnectorError, UnknownNameError
from tongqu.store.references import References
from tongqu.store.scrub import Scrubber


def ends(folder: Path, warned: list[str] | None = None, **environ: str) -> Ends:
    scrubber = Scrubber()
    told = [] if warned is None else warned
    found: Callable[[], Project] = lambda: load(folder)  # noqa: E731  # reads better as one argument
    references = References(secrets=folder, folder=folder, scrubber=scrubber, environ=environ)
    return Ends(references=references, scrubber=scrubber, project=found, warn=told.append)


def test_a_password_is_no_part_of_identity_name_or_what_is_kept(tmp_path: Path) -> None:
    warned: list[str] = []
    several = ends(tmp_path, warned)
    end = several.end("postgresql://app:hunter2hunter2@db:5433/plant")
    other = several.end("postgresql://app:another-password@db:5433/plant")
    assert end.identity == other.identity
    assert (end.name, end.kept) == ("postgresql://app:***@db:5433/plant", "")
    assert warned == ["warning.literal_password"]


def test_references_are_kept_as_references(tmp_path: Path) -> None:
    end = ends(tmp_path, DB="plant", PW="s3cret-s3cret").end("postgresql://app:${env:PW}@db/${env:DB}")
    assert end.kept == "postgresql://app:${env:PW}@db/${env:DB}"
    assert end.identity == "postgresql://db:5432/plant"


def test_a_name_is_a_connection_of_the_project(tmp_path: Path) -> None:
    text = (
        'connections:\n  q: {type: postgres, url: "postgresql://u@one/db", host: two}\n'
        "  s: {type: sqlite, path: d/x.db}\n"
    )
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    several = ends(tmp_path)
    assert several.end("q").identity == "postgresql://two:5432/db"
    assert str(tmp_path / "d" / "x.db") in several.end("s").identity
    with pytest.raises(UnknownNameError, match="there is no connection 'qq'"):
        several.end("qq")
    with pytest.raises(UnknownConnectorError) as raised:
        several.end("orders.csv.gz")
    assert raised.value.hint == "for a file write file:orders.csv.gz"


def test_settings_that_only_turn_out_wrong_when_resolved_name_their_place(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text('connections:\n  q: {type: postgres, port: "${env:P}"}\n', encoding="utf-8")
    with pytest.raises(InvalidSettingsError) as raised:
        ends(tmp_path, P="many").end("q")
    assert raised.value.path == "tongqu.yaml:2:connections.q.port"


def test_a_broken_project_is_not_mistaken_for_none(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("nope: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown section 'nope'"):
        ends(tmp_path).end("q")


def test_relative_paths_of_a_project_start_at_its_folder() -> None:
    folder = Path("/plant")
    assert rooted({"path": "data/x.db"}, folder) == {"path": "/plant/data/x.db"}
    assert rooted({"path": "/abs/x.db"}, folder) == {"path": "/abs/x.db"}
    assert rooted({"path": ":memory:"}, folder) == {"path": ":memory:"}
    assert rooted({"url": "file:in/*.csv?header=true"}, folder) == {"url": "file:/plant/in/*.csv?header=true"}
    assert rooted({"url": "sqlite:///abs.db"}, folder) == {"url": "sqlite:///abs.db"}
