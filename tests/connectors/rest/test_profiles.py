"""Each profile against its mock: all its datasets arrive whole, and the vendor's codes mean what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tongqu.connectors.rest.settings import RestSettings
from tongqu.connectors.rest.source import RestSource
from tongqu.core.data import Meta, Read
from tongqu.core.errors import AuthError, RateLimitedError
from tongqu.kit.profiles.profile import names, profile
from tongqu.testing.command_line import inside
from tongqu.testing.services.mock_vendor import MockVendor

QUICK = {"retry": {"first_seconds": 0.001, "longest_seconds": 0.002}}
SPOTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dingtalk": ("attendance_results", "id = 3", {"userId": "user0007", "timeResult": "Late", "approveId": 9001}),
    "wecom": ("checkins", "userid = 'james'", {"exception_type": "地点异常", "checkin_time": 1793580600}),
    "feishu": ("department_users", "open_id = 'ou_4'", {"department_id": "od-2", "name": "赵六", "gender": 2}),
    "kingdee": ("purchase_order_lines", "entry_id = 21", {"bill_no": "CGDD000002", "material": "P-20", "status": "A"}),
    "yonyou": ("purchase_order_lines", "lineno = 20", {"code": "PO0001", "product_cCode": "00000003", "status": 1}),
    "salesforce": ("opportunities", "\"Id\" = '006A2'", {"StageName": "Closed Won", "IsWon": True}),
    "jira": ("issues", "key = 'QA-1'", {"assignee": "张三", "status": "Open", "project": "QA"}),
    "teambition": ("tasks", "content = '第三个任务'", {"executorId": "u2", "priority": 2}),
    "qms": ("inspection_results", "sample_no = 2", {"lot_no": "L20261101", "passed": False}),
    "mes": ("process_parameters", "equipment_id = 'OVEN-02'", {"value": 182.4, "unit": "degC"}),
    "attendance": ("abnormal_attendance", "kind = 'late'", {"employee_no": "1002", "minutes": 21}),
    "plm": ("bom_lines", "line_no = 20", {"parent_no": "P-20", "item_no": "P-21"}),
    "payroll": ("payslips", "employee_no = '1001'", {"month": "2026-10", "bank_account": "6222000000000001"}),
    "performance": ("reviews", "employee_no = '1003'", {"period": "2026Q3", "grade": "C"}),
    "bi": ("metrics", "metric = 'scrap_cost'", {"dimension": "SH1", "value": 1250.75}),
}


def settings(vendor: MockVendor, **more: Any) -> RestSettings:
    return RestSettings.parse({**vendor.settings, **QUICK, **more})


def rows(source: RestSource, name: str) -> list[dict[str, Any]]:
    dataset = source.datasets([name])[0]
    batches = source.read(Read(dataset, source.splits(dataset, 1)[0]))
    return [row for batch in batches for row in batch.rows.to_pylist()]


@pytest.fixture
def dingtalk() -> Iterator[MockVendor]:
    with MockVendor("dingtalk") as vendor:
        yield vendor


def test_every_profile_has_a_row_that_is_looked_at() -> None:
    assert set(SPOTS) == set(names())


@pytest.mark.parametrize("name", names())
def test_all_datasets_of_a_profile_are_synced(name: str, tmp_path: Path) -> None:
    with MockVendor(name) as vendor:
        lines = [f"    {key}: {value!r}" for key, value in {**vendor.settings, "type": "rest"}.items()]
        (tmp_path / "tongqu.yaml").write_text("\n".join(["project: p", "connections:", "  v:", *lines]))
        checked = inside(tmp_path, "check", "--json")
        assert checked.document["ok"] is True, checked.out
        done = inside(tmp_path, "sync", "v", "duckdb:lake.duckdb", "--json")
    assert (done.code, done.document["status"]) == (0, "succeeded"), done.err
    told = {one["name"]: (one["read"], one["quarantined"]) for one in done.document["streams"]}
    assert told == {key: (len(one.sample), 0) for key, one in profile(name).datasets.items()}
    dataset, where, expected = SPOTS[name]
    with duckdb.connect(str(tmp_path / "lake.duckdb"), read_only=True) as lake:
        found = lake.sql(f'SELECT * FROM "{dataset}" WHERE {where}').to_arrow_table().to_pylist()  # constants
    assert [{key: row[key] for key in expected} for row in found] == [expected]


@pytest.mark.parametrize("name", names())
def test_wrong_credentials_are_an_auth_error(name: str) -> None:
    found = profile(name)
    secret = next(key for key, asked in found.settings.items() if asked.secret)
    with MockVendor(name) as vendor:
        source = RestSource(settings(vendor, **{secret: "something-else"}))
        with pytest.raises(AuthError) as caught:
            rows(source, next(iter(found.datasets)))
        source.close()
    assert "something-else" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("name", names())
def test_the_code_for_too_many_calls_is_waited_out(name: str) -> None:
    first = next(iter(profile(name).datasets))
    with MockVendor(name) as vendor:
        vendor.api.busy = 2
        source = RestSource(settings(vendor))
        assert len(rows(source, first)) == len(profile(name).datasets[first].sample)
        source.close()
        vendor.api.busy = 100
        source = RestSource(settings(vendor, retry={**QUICK["retry"], "attempts": 3}))
        with pytest.raises(RateLimitedError):
            rows(source, first)
        source.close()


def test_a_token_that_ends_early_is_asked_for_again(dingtalk: MockVendor) -> None:
    source = RestSource(settings(dingtalk))
    assert len(rows(source, "departments")) == 2
    dingtalk.api.revoked = True
    assert len(rows(source, "users")) == 1
    source.close()
    assert [one.path for one in dingtalk.api.calls].count("/gettoken") == 2


def test_the_parents_value_goes_into_the_body(dingtalk: MockVendor) -> None:
    source = RestSource(settings(dingtalk))
    found = [(row["dept_id"], row["userid"]) for row in rows(source, "department_users")]
    source.close()
    assert found == [(100, "manager4220"), (200, "user0007"), (200, "user0008"), (200, "user0009")]


def test_titles_classes_and_units_ride_with_the_fields(dingtalk: MockVendor) -> None:
    source = RestSource(settings(dingtalk))
    schema: pa.Schema = source.datasets(["attendance_results"])[0].schema
    source.close()
    told = schema.field("userCheckTime").metadata or {}
    assert [told[key.value.encode()].decode() for key in (Meta.TITLE, Meta.CLASS, Meta.UNIT)] == [
        "实际打卡时间", "personal", "ms",
    ]  # fmt: skip


def test_only_changed_records_are_asked_for() -> None:
    with MockVendor("qms") as vendor:
        dataset = "inspection_results"
        source = RestSource(settings(vendor))
        told = source.datasets([dataset])[0]
        source.close()
        assert told.cursor == "updated_at"
        since = settings(vendor, datasets={dataset: {"params": {"updated_since": "2026-11-01 09:00:00"}}})
        source = RestSource(since)
        found = rows(source, dataset)
        source.close()
    assert [(row["lot_no"], row["sample_no"]) for row in found] == [("L20261101", 2), ("L20261102", 1)]
