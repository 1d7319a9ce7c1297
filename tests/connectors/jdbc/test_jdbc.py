"""JDBC: what a URL says, what a missing jar is called, and a catalogue that only the driver knows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tongqu.connectors.jdbc import compiling, connector
from tongqu.connectors.jdbc.settings import from_url
from tongqu.core.data import Read, Split
from tongqu.core.errors import AuthError, ConnectError, InvalidSettingsError, NotFoundError
from tongqu.testing.conformance.place import Place, items
from tongqu.testing.types import CASES, canonical


def test_a_url_is_taken_apart_without_losing_what_is_the_driver_s() -> None:
    found = from_url("jdbc:postgresql://etl:p%40w@db:5432/plant?jar=/a.jar&jar=/b.jar&sslmode=require&db_schema=mes")
    assert found.url == "jdbc:postgresql://db:5432/plant?sslmode=require"
    assert (found.user, found.jars, found.db_schema) == ("etl", ("/a.jar", "/b.jar"), "mes")
    assert found.password is not None and found.password.get_secret_value() == "p@w"
    assert found.identity() == "jdbc:postgresql://db:5432/plant"


def test_a_password_is_never_a_part_of_the_driver_s_url() -> None:
    asked = from_url("jdbc:mariadb://db/plant?jar=/a.jar&user=etl&password=geheim")
    assert (asked.url, asked.user) == ("jdbc:mariadb://db/plant", "etl")
    with pytest.raises(InvalidSettingsError, match="setting of its own") as caught:
        from_url("jdbc:sqlserver://db;user=etl;password=geheim?jar=/a.jar")
    assert "geheim" not in str(caught.value)


def test_a_url_needs_a_jar() -> None:
    with pytest.raises(InvalidSettingsError, match="jar"):
        from_url("jdbc:oracle:thin:@//db:1521/plant")


def test_a_jar_that_is_not_there_is_told(tmp_path: Path) -> None:
    place = Place(connector, f"jdbc:postgresql://db/plant?jar={tmp_path}/no.jar")
    with place.source() as source, pytest.raises(NotFoundError, match=r"no\.jar"):
        source.datasets(None)


def test_what_java_says_becomes_our_errors(jdbc_pg_url: str) -> None:
    settings = from_url(jdbc_pg_url)
    place = Place(connector, jdbc_pg_url)
    for wrong, kind in (
        ({"user": "nobody"}, AuthError),
        ({"url": "jdbc:postgresql://127.0.0.1:1/plant"}, ConnectError),
        ({"url": "jdbc:nothing://127.0.0.1/plant"}, InvalidSettingsError),
        ({"driver_class": "no.such.Driver"}, NotFoundError),
    ):
        with place.source(settings.model_copy(update=wrong)) as source, pytest.raises(kind):
            source.datasets(None)


def test_a_server_that_nobody_knows_is_read_by_what_its_driver_tells(jdbc_pg_url: str) -> None:
    place = Place(connector, jdbc_pg_url)
    place.fill(items(range(3)))
    unknown = from_url(f"{jdbc_pg_url}&dialect=ansi&db_schema=public")
    with place.source(unknown) as source:
        (dataset,) = source.datasets(["items"])
        assert (dataset.key, dataset.columns) == (("id",), ("id", "v"))
        (batch,) = source.read(Read(dataset, Split("0", "items")))
    assert batch.rows.column("v").to_pylist() == ["v0", "v1", "v2"]


def test_the_class_that_moves_columns_is_compiled_once_and_kept(jdbc_pg_url: str, tmp_path: Path) -> None:
    kept = tmp_path / "home" / "connection"
    del jdbc_pg_url  # its Java
    assert compiling.columns(kept).kind is not None
    (made,) = kept.rglob("*.class")
    written = made.stat().st_mtime_ns
    compiling._made.pop(kept)  # as another process would come
    assert compiling.columns(kept).kind is not None
    assert made.stat().st_mtime_ns == written
    made.write_bytes(b"torn")
    compiling._made.pop(kept)
    assert compiling.columns(kept).kind is not None, "made anew"


def test_java_without_a_compiler_moves_rows_one_by_one(jdbc_pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(folder: Path) -> None:
        raise compiling._CannotError("this Java has no compiler")

    monkeypatch.setattr(compiling, "_compile", none)
    monkeypatch.setattr(compiling, "_made", {})
    place = Place(connector, jdbc_pg_url)
    for case in CASES:
        rows = case.table().slice(0, len(case.values))
        assert place.fill(rows, name=f"t_{case.name}").inserted == rows.num_rows, case.name
        found = {row["id"]: row["v"] for row in place.table(f"t_{case.name}").to_pylist()}
        for row in rows.to_pylist():
            assert canonical(found[row["id"]], case) == canonical(row["v"], case), case.name
    with place.source() as source:
        stages = list(source.check())
    assert [stage for stage in stages if stage.startswith("columns: rows pass one by one")]
    assert stages[-1].startswith("sample"), "a note, no failure"


def test_mariadb_takes_and_gives_every_type(jdbc_mysql_url: str) -> None:
    place = Place(connector, jdbc_mysql_url)
    for case in CASES:
        if case.name in ("negative_zero", "instant", "float64", "float32"):
            continue  # MariaDB has no minus zero, no zones, no NaN
        rows = case.table().slice(0, len(case.values))
        assert place.fill(rows, name=f"t_{case.name}").inserted == rows.num_rows, case.name
        found = {row["id"]: row["v"] for row in place.table(f"t_{case.name}").to_pylist()}
        for row in rows.to_pylist():
            assert canonical(found[row["id"]], case) == canonical(row["v"], case), case.name


def test_mariadb_merges_by_key_and_quarantines_what_it_has_not(jdbc_mysql_url: str) -> None:
    place = Place(connector, jdbc_mysql_url)
    odd = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "v": pa.array([1.5, float("nan"), None])})
    place.change(odd, run="run 1")
    counts = place.change(odd.slice(0, 1), run="run 2")
    assert (counts.unchanged, place.rows()) == (1, [(1, 1.5), (3, None)])
    (bad,) = place.quarantined()
    assert "NaN" in bad["message"]
