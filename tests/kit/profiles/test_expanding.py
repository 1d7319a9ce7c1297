"""A profile and the few values of a connection become the connection's settings."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.profiles.expanding import expanded, merged
from tongqu.kit.profiles.profile import Profile, names, profile

KEYS = {"app_key": "k", "app_secret": "s"}


def made(name: str = "dingtalk", **values: Any) -> dict[str, Any]:
    return expanded(profile(name), {"profile": name, **values})


def test_the_settings_go_where_the_profile_puts_them() -> None:
    found = made(**KEYS, department=7, users=["u1", "u2"])
    assert found["auth"]["token"]["url"] == "https://oapi.dingtalk.com/gettoken"
    assert found["auth"]["token"]["query"] == {"appkey": "k", "appsecret": "s"}
    assert found["datasets"]["users"]["body"]["dept_id"] == 7
    assert found["datasets"]["attendance_results"]["body"]["userIdList"] == ["u1", "u2"]


def test_another_address_holds_for_the_token_too() -> None:
    found = made(**KEYS, base_url="https://proxy.example/ding/")
    assert (found["base_url"], found["auth"]["token"]["url"]) == (
        "https://proxy.example/ding/", "https://proxy.example/ding/gettoken",
    )  # fmt: skip


def test_what_the_connection_says_itself_wins() -> None:
    found = made(**KEYS, limits={"calls": 20}, datasets={"departments": {"cache_seconds": 60}, "ours": {"path": "/x"}})
    assert found["limits"] == {"calls": 20}
    assert (found["datasets"]["departments"]["cache_seconds"], found["datasets"]["departments"]["records"]) == (
        60,
        "result",
    )
    assert found["datasets"]["ours"] == {"path": "/x"}


@pytest.mark.parametrize(("given", "text"), [("2026-11-02", "2026-11-02 00:00:00"), ("today", ""), ("today-30", "")])
def test_days_are_dates_or_counted_from_today(given: str, text: str) -> None:
    back = int(given.partition("-")[2] or 0) if given.startswith("today") else 0
    expected = text or f"{datetime.now(ZoneInfo('Asia/Shanghai')).date() - timedelta(days=back)} 00:00:00"
    assert made(**KEYS, **{"from": given})["datasets"]["attendance_results"]["body"]["workDateFrom"] == expected


def test_days_are_written_as_each_system_wants_them() -> None:
    days = {"from": "2026-11-02", "to": "2026-11-03"}
    wecom = made("wecom", corp_id="c", corp_secret="s", **days)["datasets"]["checkins"]["body"]
    assert (wecom["starttime"], wecom["endtime"]) == (1793548800, 1793548800 + 2 * 86400 - 1)
    feishu = made("feishu", app_id="a", app_secret="s", **days)["datasets"]["attendance_results"]["body"]
    assert (feishu["check_date_from"], feishu["check_date_to"]) == (20261102, 20261103)


def test_references_stay_until_they_are_resolved() -> None:
    found = made(app_key="${env:KEY}", app_secret="${secret:dt}", department="${env:DEPARTMENT}")
    assert found["auth"]["token"]["query"] == {"appkey": "${env:KEY}", "appsecret": "${secret:dt}"}
    assert found["datasets"]["users"]["body"]["dept_id"] == "${env:DEPARTMENT}"


@pytest.mark.parametrize(
    ("values", "path", "message"),
    [
        ({"app_key": "k"}, "app_secret", "needs 'app_secret'"),
        ({**KEYS, "department": "hr"}, "department", "is a number"),
        ({**KEYS, "from": "yesterday"}, "from", "is a day"),
        ({**KEYS, "app_key": ["k"]}, "app_key", "is a text"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(InvalidSettingsError, match=message) as caught:
        made(**values)
    assert caught.value.path == path


def test_what_looks_like_a_hole_in_a_value_is_left_alone() -> None:
    assert made(app_key="<x>", app_secret="a<app_key>b")["auth"]["token"]["query"]["appsecret"] == "a<app_key>b"


def test_a_hole_that_nothing_fills_is_named() -> None:
    told = {"name": "p", "title": {"en": "P"}, "settings": {}, "datasets": {}}
    broken = Profile.parse({**told, "connection": {"base_url": "https://p.example", "headers": {"X": "<kye>"}}})
    with pytest.raises(InvalidSettingsError, match="places <kye>"):
        expanded(broken, {})


def test_an_address_is_asked_for_where_the_vendor_has_none() -> None:
    with pytest.raises(InvalidSettingsError, match="needs 'base_url'") as caught:
        made("qms", api_key="k")
    assert "https://qms.example/api" in caught.value.hint


def test_mappings_are_merged_at_any_depth() -> None:
    assert merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "e": 2}) == {
        "a": {"b": 1, "c": [2]},
        "d": 1,
        "e": 2,
    }


def test_a_profile_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "ours.yaml"
    own.write_text("""
title: {en: Ours}
settings: {key: {title: {en: Key}, secret: true, example: k}}
connection: {base_url: "https://ours.example", auth: {api_key: {value: <key>}}}
datasets:
  things: {title: {en: Things}, reading: {path: /things}, fields: {id: {type: int64, title: {en: Id}}}, sample: []}
""")
    found = profile(str(own))
    assert expanded(found, {"profile": str(own), "key": "x"})["auth"] == {"api_key": {"value": "x"}}


@pytest.mark.parametrize(("name", "hint"), [("dingtlak", "dingtalk"), ("nowhere.yaml", "a path or a name")])
def test_a_profile_that_is_not_there(name: str, hint: str) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        profile(name)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", names())
def test_profiles_are_whole(name: str) -> None:
    found: Profile = profile(name)
    texts = [found.title, *(one.title for one in found.settings.values()), *found.missing]
    texts += [one.title for one in found.datasets.values()]
    texts += [one.title for dataset in found.datasets.values() for one in dataset.fields.values()]
    assert all(text.get("zh") and text.get("en") for text in texts)
    assert found.missing
    assert bool(found.follows) == (found.label == "tested against mock")
    assert all(one.url.startswith("https://") and one.seen for one in found.follows)
