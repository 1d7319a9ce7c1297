"""The mock of a profile refuses what the vendor's API would refuse."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from tongqu.kit.http.call import Call, Reply
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.profiles.mock import Asked, MockApi
from tongqu.kit.profiles.paging import paged
from tongqu.kit.profiles.profile import profile
from tongqu.kit.profiles.server import MockServer


@pytest.fixture
def wecom() -> MockApi:
    return MockApi(profile("wecom"), "http://127.0.0.1:1")


def asked(target: str, body: Any = None, method: str = "") -> Asked:
    content = json.dumps(body).encode() if body is not None else b""
    return Asked(method or ("POST" if content else "GET"), f"/cgi-bin{target}", {}, content)


def token(api: MockApi) -> str:
    return str(api.answer(asked("/gettoken?corpid=wwsample&corpsecret=wecom-sample-secret")).body["access_token"])


def test_a_token_costs_the_right_secret(wecom: MockApi) -> None:
    assert wecom.answer(asked("/gettoken?corpid=wwsample&corpsecret=x")).body["errcode"] == 40014
    assert wecom.answer(asked("/department/list?access_token=made-up")).body["errcode"] == 40014
    assert wecom.answer(asked(f"/department/list?access_token={token(wecom)}")).body["errcode"] == 0


def test_a_parameter_that_is_missing_or_another_is_refused(wecom: MockApi) -> None:
    body = {"opencheckindatatype": 3, "starttime": 1793548800, "endtime": 1793980799, "useridlist": ["james", "paul"]}
    path = f"/checkin/getcheckindata?access_token={token(wecom)}"
    assert len(wecom.answer(asked(path, body)).body["checkindata"]) == 2
    assert wecom.answer(asked(path, {**body, "starttime": 1})).status == 400
    body.pop("useridlist")
    assert "useridlist is missing" in wecom.answer(asked(path, body)).body["message"]


def test_other_paths_and_methods_are_not_there(wecom: MockApi) -> None:
    assert wecom.answer(asked("/message/send", {})).status == 404
    assert wecom.answer(asked(f"/department/list?access_token={token(wecom)}", method="DELETE")).status == 404


def test_it_is_reached_over_http() -> None:
    server = MockServer(profile("bi"))
    try:
        client = Http(HttpSettings.parse({"base_url": server.url, "auth": {"bearer": "bi-sample-token"}}))
        reply: Reply = client.send(Call("GET", client.url("/metrics")))
        client.close()
    finally:
        server.close()
    assert json.loads(reply.content)["next"] == "/metrics/next/2"


def test_a_signature_is_made_once_more() -> None:
    api = MockApi(profile("yonyou"), "http://127.0.0.1:1")
    moment = "1793548800000"
    text = f"appKeyyonsampletimestamp{moment}".encode()
    good = b64encode(hmac.new(b"yonyou-sample-secret", text, "sha256").digest()).decode()
    path = "/open-auth/selfAppAuth/getAccessToken"

    def code(signature: str) -> str:
        query = urlencode({"appKey": "yonsample", "timestamp": moment, "signature": signature})
        return str(api.answer(Asked("GET", f"{path}?{query}", {}, b"")).body["code"])

    assert (code(good), code("AAAA")) == ("200", "310036")
    assert str(api.answer(Asked("GET", path, {}, b"")).body["code"]) == "310036"


ROWS = [{"id": number} for number in range(5)]
PAGES: list[tuple[dict[str, Any], dict[str, Any], list[int], dict[str, Any]]] = [
    ({"kind": "none"}, {}, [0, 1, 2, 3, 4], {}),
    ({"kind": "page", "total": "n", "pages": "p"}, {"page": "2"}, [2, 3], {"n": 5, "p": 3}),
    ({"kind": "page", "start": 0, "size_param": "s"}, {"page": "4", "s": "1"}, [4], {}),
    ({"kind": "offset", "more": "m"}, {"offset": "4"}, [4], {"m": False}),
    ({"kind": "cursor", "next": "c"}, {}, [0, 1], {"c": "c2"}),
    ({"kind": "cursor", "next": "c"}, {"cursor": 2}, [2, 3], {"c": 4}),
    ({"kind": "cursor", "next": "c"}, {"cursor": "c4"}, [4], {"c": ""}),
    ({"kind": "next_url", "next": "u"}, {"@next": "2"}, [2, 3], {"u": "/x/next/4"}),
    ({"kind": "keyset", "field": "id"}, {"after": "1"}, [2, 3], {}),
]


@pytest.mark.parametrize(("paging", "given", "ids", "said"), PAGES)
def test_pages(paging: dict[str, Any], given: dict[str, Any], ids: list[int], said: dict[str, Any]) -> None:
    rows, told = paged(paging, ROWS, given, 2, "/x")
    assert ([row["id"] for row in rows], told) == (ids, said)
