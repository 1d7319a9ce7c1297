"""Several rows go in one `$batch`, and the service's answer to each is told of its own row."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.odata.batches import complained, parted
from tongqu.connectors.odata.settings import ODataSettings
from tongqu.connectors.odata.sink import ODataSink
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.http.call import Reply
from tongqu.testing.pour import pour
from tongqu.testing.services.http_peer import Asked, Out
from tongqu.testing.services.odata_api import ODataApi

WAYS = [(2, "multipart"), (4, "multipart"), (4, "json")]
Found = tuple[Counts, list[dict[str, Any]]]


def service(version: int) -> ODataApi:
    """Items with two keys; number 3 is there, and a second one of it is refused."""
    api = ODataApi(version, csrf=True)
    api.table("Items", {"No": "Edm.String", "Item": "Edm.Int32", "Text": "Edm.String"}, ("No", "Item"))
    api.put("Items", No="A", Item=3, Text="before")
    return api


@pytest.fixture
def api() -> Iterator[ODataApi]:
    with service(4) as made:
        yield made


def items(*numbers: int, text: str = "客户 'x'") -> pa.Table:
    return pa.table({"No": ["A"] * len(numbers), "Item": pa.array(numbers, pa.int32()), "Text": [text] * len(numbers)})


def put(
    api: ODataApi, folder: Path, table: pa.Table, mode: WriteMode = WriteMode.APPEND, *, run: str = "run 1",
    write: Any = None, **more: Any,
) -> Found:  # fmt: skip
    more.setdefault("calls", {"pause_seconds": 0})
    told = ODataSettings.parse({"base_url": api.root, "datasets": {"Items": {"write": write or {}}}, **more})
    asked = Write("Items", Dataset("Items", table.schema, key=("No", "Item")), mode, "sync", run,
                  key=("No", "Item"), incremental=mode is WriteMode.UPSERT)  # fmt: skip
    sink = ODataSink(told)
    sink.lodge(folder)
    try:
        return pour(sink, asked, [table]), sink.quarantined()
    finally:
        sink.close()


def batches(api: ODataApi) -> list[Asked]:
    return [call for call in api.calls if call.path == "/svc/$batch"]


def there(api: ODataApi) -> list[int]:
    return sorted(row["Item"] for row in api.rows["Items"].values())


@pytest.mark.parametrize(("version", "way"), WAYS)
def test_each_row_of_a_batch_has_its_own_answer(version: int, way: str, tmp_path: Path) -> None:
    with service(version) as api:
        counts, (bad,) = put(api, tmp_path, items(1, 2, 3, 4, 5), batch=way)
        assert (counts.inserted, counts.quarantined, there(api)) == (4, 1, [1, 2, 3, 4, 5])
        assert "there is an entity of that key" in bad["message"]
        assert '"Item": 3' in bad["original"]
        assert len(batches(api)) == 1
        assert not [call for call in api.calls if call.path == "/svc/Items"]


@pytest.mark.parametrize(("version", "way"), WAYS)
def test_rows_are_looked_up_changed_and_deleted_in_batches(version: int, way: str, tmp_path: Path) -> None:
    write = {"delete": True}
    with service(version) as api:
        api.guarded = True  # each change names the ETag that a batch has read
        counts, bad = put(api, tmp_path, items(1, 2, 3), WriteMode.UPSERT, batch=way, write=write)
        assert (counts.inserted, counts.updated, bad) == (2, 1, [])
        counts, bad = put(api, tmp_path, items(2, text="b"), WriteMode.REPLACE, run="run 2", batch=way, write=write)
        assert (there(api), bad) == ([2], [])


@pytest.mark.parametrize(("version", "way"), WAYS)
def test_a_refused_change_set_goes_again_without_the_rows_it_is_refused_for(
    version: int, way: str, tmp_path: Path
) -> None:
    with service(version) as api:
        counts, bad = put(api, tmp_path, items(1, 2, 3, 4, 5), batch=way, write={"changeset": "batch"})
        assert (counts.inserted, len(bad), there(api)) == (4, 1, [1, 2, 3, 4, 5])
        assert '"Item": 3' in bad[0]["original"]
        assert len(api.log) == 5  # the one put in place, and each of the others once


@pytest.mark.parametrize(("version", "way"), WAYS)
def test_a_whole_change_set_stands_or_falls(version: int, way: str, tmp_path: Path) -> None:
    with service(version) as api:
        write = {"batch_size": 3, "changeset": "whole"}
        counts, bad = put(api, tmp_path, items(1, 2, 3, 4, 5, 6), batch=way, write=write)
        assert (counts.inserted, len(bad), there(api)) == (3, 3, [3, 4, 5, 6])
        assert all("there is an entity of that key" in one["message"] for one in bad)


def test_a_service_without_batches_is_called_row_by_row(
    api: ODataApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api.batches = ()
    with caplog.at_level(logging.WARNING):
        counts, bad = put(api, tmp_path, items(1, 2, 3, 4))
    assert (counts.inserted, len(bad), there(api)) == (3, 1, [1, 2, 3, 4])
    assert len(batches(api)) == 2  # as multipart and as JSON, and never again
    assert [one.getMessage().partition("$batch ")[2] for one in caplog.records if "$batch" in one.getMessage()] == [
        "as multipart (status 415): json is tried",
        "as json (status 415): each change is a call of its own now",
    ]


def test_a_whole_change_set_is_never_written_row_by_row(api: ODataApi, tmp_path: Path) -> None:
    api.batches = ()
    with pytest.raises(InvalidPlanError, match="all or none"):
        put(api, tmp_path, items(1, 2), write={"changeset": "whole"})
    assert there(api) == [3]


def test_a_service_whose_metadata_denies_batches_is_not_asked_for_one(api: ODataApi, tmp_path: Path) -> None:
    metadata = api._metadata().replace(
        '<EntityContainer Name="C">',
        '<EntityContainer Name="C"><Annotation Term="Org.OData.Capabilities.V1.BatchSupported" Bool="false"/>',
    )
    path = tmp_path / "metadata.xml"
    path.write_text(metadata)
    counts, _ = put(api, tmp_path, items(1, 2), metadata_file=str(path))
    assert (counts.inserted, batches(api)) == (2, [])


@pytest.mark.parametrize("way", ["multipart", "json"])
def test_what_a_service_did_not_look_at_after_an_error_goes_again(api: ODataApi, way: str, tmp_path: Path) -> None:
    api.goes_on = False
    counts, bad = put(api, tmp_path, items(1, 3, 2, 4), batch=way)
    assert (counts.inserted, len(bad), there(api)) == (3, 1, [1, 2, 3, 4])
    assert len(batches(api)) == 2


def test_an_error_beside_answers_of_one_change_set_is_an_error_of_them_all() -> None:
    """OData 2 asks for one answer in place of a refused change set; some services answer each of its calls."""
    lines = b"HTTP/1.1 201 Created\r\n\r\n", b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}"
    parts = b"".join(b"--i\r\nContent-Type: application/http\r\n\r\n" + one + b"\r\n" for one in lines)
    body = b"--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n" + parts + b"--i--\r\n--o--\r\n"
    reply = Reply(202, {"content-type": "multipart/mixed; boundary=o"}, body, "http://x/$batch")
    answers = parted(reply, 2, changes=True, atomic=True)
    assert not answers.of
    assert answers.refused[0][1] == {1}
    assert set(parted(reply, 2, changes=True, atomic=False).of) == {0, 1}


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        ({"innererror": {"errordetails": [{"ContentID": "2", "message": "x"}]}}, {1}),
        ({"@Org.OData.Core.V1.ContentID": "1"}, {0}),
        ({"innererror": {"errordetails": [{"ContentID": "", "message": "x"}]}}, set()),
    ],
)
def test_a_refused_change_set_names_the_row_where_the_service_says_it(error: Any, blamed: set[int]) -> None:
    reply = Reply(400, {}, json.dumps({"error": error}).encode(), "")
    assert complained(reply, 3) == blamed


@pytest.mark.parametrize("part", [b"", b"--outer\r\nContent-Type: application/http\r\n\r\nno answer\r\n--outer--\r\n"])
def test_after_an_answer_that_tells_nothing_rows_are_read_back(api: ODataApi, part: bytes, tmp_path: Path) -> None:
    """The first batch takes place, and its answer is lost or damaged."""
    route, left = api._batched, [1]

    def damaged(asked: Asked, out: Out) -> None:
        if not left or b"POST" not in asked.body:
            route(asked, out)
            return
        left.pop()
        out.answer = lambda *_, **__: None  # type: ignore[method-assign]  # this answer alone
        route(asked, out)
        if part:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=outer\r\nContent-Length: {len(part)}"
            out.raw(head.encode() + b"\r\n\r\n" + part)
        else:
            out.hang_up()

    api._batched = damaged  # type: ignore[method-assign]  # the fault of this test
    counts, bad = put(api, tmp_path, items(1, 2, 4))
    assert (counts.inserted, bad, there(api)) == (3, [], [1, 2, 3, 4])
    assert len(api.log) == 4  # nothing was created twice


CHILD = """
import sys
from pathlib import Path
import pyarrow as pa
from tongqu.connectors.odata.batches import complained, parted
from tongqu.connectors.odata.settings import ODataSettings
from tongqu.connectors.odata.sink import ODataSink
from tongqu.core.data import Dataset, Write, WriteMode
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.http.call import Reply
from tongqu.testing.pour import pour
url, folder, key = sys.argv[1], Path(sys.argv[2]), ("No", "Item")
table = pa.table({"No": ["A"] * 6, "Item": pa.array([1, 2, 4, 5, 6, 7], pa.int32()), "Text": ["t"] * 6})
told = {"base_url": url, "datasets": {"Items": {"write": {"batch_size": 3}}}, "calls": {"concurrency": 1}}
sink = ODataSink(ODataSettings.parse(told))
sink.lodge(folder)
asked = Write("Items", Dataset("Items", table.schema, key=key), WriteMode.APPEND, "sync", "run 1", key=key)
pour(sink, asked, [table])
sink.close()
"""


@pytest.mark.parametrize("point", ["before_call:2", "after_call:1", "after_call:2", "in_commit:1"])
def test_a_process_that_dies_leaves_each_row_once(api: ODataApi, point: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, api.root, str(tmp_path)]
    died = subprocess.run(command, env={**os.environ, "TONGQU_CRASH_AT": point}, timeout=120, check=False)
    assert died.returncode != 0
    subprocess.run(command, env={**os.environ, "TONGQU_CRASH_AT": ""}, timeout=120, check=True)
    assert (there(api), len(api.log)) == ([1, 2, 3, 4, 5, 6, 7], 7)


@pytest.mark.parametrize(
    ("path", "name", "write"),
    [
        ("odata/sap/API_SALES_ORDER_SRV", "A_SalesOrder", {}),
        ("odata/sap/API_SALES_ORDER_SRV", "A_SalesOrder", {"changeset": "batch"}),
        ("odata4/sap/api_salesorder/srvd_a2x/sap/api_salesorder/0001", "SalesOrder", {}),
    ],
)
def test_orders_of_somebody_elses_sap_are_changed_in_batches(
    own_sap: str, path: str, name: str, write: dict[str, Any], tmp_path: Path
) -> None:
    told = ODataSettings.parse({"base_url": f"{own_sap}/{path}", "datasets": {name: {"write": write}}})
    numbers = [f"{number:010}" for number in range(4712, 4717)]
    table = pa.table({"SalesOrder": numbers, "PurchaseOrderByCustomer": ["PO-客户"] * 5})
    sink = ODataSink(told)
    sink.lodge(tmp_path)
    dataset = Dataset(name, table.schema, key=("SalesOrder",))
    asked = Write(name, dataset, WriteMode.UPSERT, "sync", "run 1", key=("SalesOrder",), incremental=True)
    counts, bad = pour(sink, asked, [table]), sink.quarantined()
    sink.close()
    assert (counts.updated, bad) == (5, [])
