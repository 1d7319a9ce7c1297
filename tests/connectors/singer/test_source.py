"""Taps are read as they are, resumed where they say, and ended when they misbehave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from tongqu.connectors.singer.settings import SingerSettings, from_url
from tongqu.connectors.singer.source import SingerSource
from tongqu.core.data import Batch, Mode, Position, Read, Split
from tongqu.core.errors import (
    AnswerError,
    InvalidPlanError,
    InvalidSettingsError,
    MissingDriverError,
    ReadError,
    SchemaError,
    TimedOutError,
)
from tongqu.testing.foreign import TAP, furnished

Opener = Callable[..., SingerSource]


@pytest.fixture(name="tap")
def opener(tmp_path: Path) -> Iterator[Opener]:
    """Opens the mock tap with a configuration."""
    installed, made = furnished(tmp_path / "foreign"), list[SingerSource]()

    def opened(config: dict[str, Any] | None = None, **more: Any) -> SingerSource:
        settings = SingerSettings(tap=TAP, installed=str(installed), config=config or {}, **more)
        made.append(SingerSource(settings))
        made[-1].lodge(tmp_path / "home/connections/x")
        return made[-1]

    yield opened
    for one in made:
        one.close()


def asked(source: SingerSource, mode: Mode = Mode.FULL, after: Position | None = None, **more: Any) -> Read:
    (dataset,) = source.datasets()
    spec = {"after": after, "until": source.horizon(dataset, "", after)} if mode is Mode.INCREMENTAL else {}
    return replace(Read(dataset, Split("0", dataset.name, spec), mode=mode), **more)


def ids(batches: list[Batch]) -> list[Any]:
    return [number for batch in batches for number in batch.rows.column("id").to_pylist()]


def test_a_tap_is_a_source(tap: Opener) -> None:
    source = tap()
    first, egress, *rest = source.check()
    assert (first, egress.partition(",")[0]) == ("installed", "egress: not enforced")
    assert rest == ["streams (1)", "sample items"]
    (dataset,) = source.datasets()
    assert dataset.key == ("id",)
    rows = next(iter(source.read(asked(source)))).rows
    assert rows.slice(0, 1).to_pylist()[0] | {"at": None} == {
        "id": 1, "v": 'v1 "}', "price": Decimal("0.25"), "at": None, "tags": '[{"n": 1}]',
    }  # fmt: skip


def test_a_full_read_can_be_cut_nowhere_but_at_its_end(tap: Opener) -> None:
    source = tap({"rows": 10})
    *batches, last = source.read(asked(source, batch_rows=2))
    assert [batch.position for batch in batches] == [None] * len(batches)
    assert last.position == {"state": {"bookmarks": {"items": {"id": 10}}}, "end": True}
    assert not source.can_resume(asked(source).dataset)


def test_an_incremental_read_is_cut_at_states_and_goes_on_without_loss(tap: Opener, tmp_path: Path) -> None:
    source = tap({"rows": 20_000, "every": 700, "tell": str(tmp_path / "told.json")})
    whole = list(source.read(asked(source, Mode.INCREMENTAL, batch_rows=1000)))
    cuts = [at for at, batch in enumerate(whole) if batch.position is not None]
    assert len(cuts) > 1
    before = whole[: cuts[0] + 1]
    rest = list(source.read(asked(source, Mode.INCREMENTAL, after=None) if not before else _on(source, before)))
    assert ids(before) + ids(rest) == list(range(1, 20_001))
    assert json.loads((tmp_path / "told.json").read_text())["after"] == ids(before)[-1]


def _on(source: SingerSource, before: list[Batch]) -> Read:
    return replace(asked(source, Mode.INCREMENTAL), after=before[-1].position)


def test_an_increment_begins_with_the_state_of_the_last_one(tap: Opener) -> None:
    source = tap({"rows": 10})
    end = list(source.read(asked(source, Mode.INCREMENTAL)))[-1].position
    longer = tap({"rows": 13})
    assert ids(list(longer.read(asked(longer, Mode.INCREMENTAL, after=end)))) == [11, 12, 13]


def test_the_catalog_selects_the_stream_and_how_it_is_replicated(tap: Opener, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    source = tap({"tell": str(told)}, catalog_option="--properties")
    list(source.read(asked(source, Mode.INCREMENTAL)))
    entry = json.loads(told.read_text())["catalog"]
    assert entry["replication_method"] == "INCREMENTAL"
    assert (
        entry["metadata"][0]["metadata"] | {"selected": True, "replication-key": "id"}
        == entry["metadata"][0]["metadata"]
    )


def test_nothing_of_ours_is_inherited_and_nothing_is_left(tap: Opener, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OUR_SECRET", "x")
    told = tmp_path / "told.json"
    source = tap({"tell": str(told)}, environment={"REGION": "cn"})
    list(source.read(asked(source)))
    about = json.loads(told.read_text())
    assert {"OUR_SECRET", "PYTHONPATH"} & set(about["environment"]) == set()
    assert about["environment"]["REGION"] == "cn"
    assert about["mode"] == "0o100600"
    assert about["environment"]["HOME"] == about["cwd"]
    assert [path.name for path in Path(about["cwd"]).iterdir()] == ["tmp"], "the configuration is gone with the program"
    source.close()
    assert not Path(about["cwd"]).exists()


def test_a_line_that_is_no_message_is_named_by_its_number(tap: Opener) -> None:
    source = tap({"behaviour": "garbage"})
    with pytest.raises(AnswerError, match=r"line 8 .*what a day"):
        list(source.read(asked(source)))


def test_what_is_shown_of_a_line_holds_no_secret(tap: Opener) -> None:
    source = tap({"behaviour": "leak", "api_token": "s3cret-token"})
    with pytest.raises(AnswerError, match=r"my token is \*\*\*"):
        list(source.read(asked(source)))


def test_a_tap_that_takes_too_much_memory_fails_alone(tap: Opener) -> None:
    source = tap({"behaviour": "eat"}, limits={"memory_mb": 256})
    with pytest.raises(ReadError, match="MemoryError"):
        list(source.read(asked(source)))


def test_a_silent_tap_is_ended_with_all_that_it_started(tap: Opener, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    source = tap({"behaviour": "hang", "pid": str(pid)}, limits={"silent_seconds": 1})
    with pytest.raises(TimedOutError, match="said nothing for 1 s"):
        list(source.read(asked(source)))
    assert _gone(int(pid.read_text()))


def test_a_line_without_end_is_no_message(tap: Opener) -> None:
    source = tap({"behaviour": "babble"})
    with pytest.raises(AnswerError, match="longer than 32 MiB"):
        list(source.read(asked(source)))


def test_a_failing_tap_is_told_by_its_last_words_without_secrets(tap: Opener) -> None:
    source = tap({"behaviour": "fail", "api_token": "s3cret-token"})
    with pytest.raises(ReadError, match=r"exit code 3: .*cannot log in with \*\*\*") as caught:
        list(source.read(asked(source)))
    assert "s3cret-token" not in str(caught.value)
    assert len(str(caught.value)) < 3000
    assert "s3cret-token" not in source.settings.identity()


def test_a_schema_that_changes_stops_the_read_and_is_known_the_next_time(tap: Opener) -> None:
    source = tap({"behaviour": "alter"})
    with pytest.raises(SchemaError, match="more"):
        list(source.read(asked(source)))
    again = tap({"behaviour": "alter"})
    assert "more" in again.datasets()[0].columns
    assert ids(list(again.read(asked(again)))) == list(range(1, 11))


def test_a_record_that_does_not_fit_is_set_aside(tap: Opener) -> None:
    source = tap({"behaviour": "dirty"})
    batches = list(source.read(asked(source)))
    (bad,) = [bad for batch in batches for bad in batch.bad]
    assert (bad.code, bad.field) == ("data.cast", "id")
    assert ids(batches) == list(range(1, 11))


def test_batch_messages_are_read_from_their_files(tap: Opener) -> None:
    source = tap({"behaviour": "batch"})
    assert sorted(ids(list(source.read(asked(source))))) == [*range(1, 11), 1000]


def test_a_tap_without_network_reaches_nothing(tap: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = {"behaviour": "network", "port": server.getsockname()[1]}
        list(tap(config).read(asked(tap(config))))
        cut = tap(config, network=False)
        with pytest.raises(ReadError, match=r"unreachable|cut off"):
            list(cut.read(asked(cut)))


def test_a_read_ends_soon_when_asked_to(tap: Opener, tmp_path: Path) -> None:
    stop = Event()
    source = tap({"behaviour": "hang", "pid": str(tmp_path / "pid")})
    read = asked(source, stop=stop)
    Timer(0.5, stop.set).start()
    begun = time.monotonic()
    assert [batch.position for batch in source.read(read)] == []
    assert time.monotonic() - begun < 5


def test_a_tap_does_not_outlive_us(tmp_path: Path) -> None:
    pid, installed = tmp_path / "pid", furnished(tmp_path / "foreign")
    code = (
        "from tongqu.core.data import Read, Split\n"
        "from tongqu.connectors.singer.settings import SingerSettings\n"
        "from tongqu.connectors.singer.source import SingerSource\n"
        f"config = {{'behaviour': 'hang', 'pid': {str(pid)!r}}}\n"
        f"source = SingerSource(SingerSettings(tap={TAP!r}, installed={str(installed)!r}, config=config))\n"
        "(dataset,) = source.datasets()\n"
        "list(source.read(Read(dataset, Split('0', dataset.name))))\n"
    )
    private = tmp_path / "private"
    private.mkdir()
    ours = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(private)})
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        Event().wait(0.05)
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    assert _gone(int(pid.read_text()))
    while list(private.iterdir()):
        assert time.monotonic() < deadline, "its folder is left"
        Event().wait(0.05)


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        Event().wait(0.05)
    return False


def test_what_is_known_better_replaces_what_the_tap_says(tap: Opener) -> None:
    source = tap(streams={"items": {"key": ["v"], "fields": {"price": "decimal(9,3)"}}})
    (dataset,) = source.datasets()
    assert dataset.key == ("v",)
    assert str(dataset.schema.field("price").type) == "decimal128(9, 3)"


def test_a_cursor_column_is_refused(tap: Opener) -> None:
    source = tap()
    with pytest.raises(InvalidPlanError, match="by itself"):
        source.horizon(source.datasets()[0], "id", None)


def test_a_catalog_file_takes_the_place_of_discovery(tap: Opener, tmp_path: Path) -> None:
    entry = {"tap_stream_id": "items", "schema": {"properties": {"id": {"type": "integer"}}}, "key_properties": ["id"]}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps({"streams": [{**entry, "replication_method": "FULL_TABLE"}]}))
    source = tap(catalog=str(catalog))
    (dataset,) = source.datasets()
    assert dataset.columns == ("id",)
    with pytest.raises(InvalidPlanError, match="incrementally"):
        source.horizon(dataset, "", None)
    with pytest.raises(InvalidSettingsError, match="cannot be read"):
        tap(catalog=str(tmp_path / "none.json")).datasets()


def test_a_tap_that_is_not_installed_is_told_with_the_command(tmp_path: Path) -> None:
    source = SingerSource(SingerSettings(tap="tap-none", installed=str(tmp_path)))
    with pytest.raises(MissingDriverError) as caught:
        list(source.check())
    assert "tongqu connectors install tap-none==" in caught.value.hint


def test_a_url_holds_the_configuration() -> None:
    settings = from_url("singer:tap-x?package=pkg&config.a.b=1&config.on=true&config.name=x&limits.memory_mb=512")
    assert (settings.tap, settings.package, settings.limits.memory_mb) == ("tap-x", "pkg", 512)
    assert settings.config == {"a": {"b": 1}, "on": True, "name": "x"}
    with pytest.raises(InvalidSettingsError, match="without folder"):
        from_url("singer:../tap")
