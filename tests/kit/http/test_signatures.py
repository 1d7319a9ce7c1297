"""Signatures come out as the systems' own documents print them, or as the system itself would make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.http.auth.signature import Signer
from tongqu.kit.http.auth_settings import Auth
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.request import Request, request_of
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.services.http_peer import HttpPeer
from tongqu.testing.swift_clock import SwiftClock

Client = Callable[..., Http]
NOON = datetime(2026, 11, 22, 4, 0, 0, tzinfo=UTC).timestamp()


def request(url: str, method: str = "GET", body: bytes = b"", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request_of(Call(method, url, (), named, body), HttpSettings(base_url=url), "test")


def signed(signature: dict[str, Any], asked: Request, at: float = NOON) -> Request:
    settings = Auth.parse({"signature": signature}).signature
    assert settings is not None
    return Signer(settings, SwiftClock(start=at)).signed(asked)


def test_aliyun_rpc() -> None:
    """The example of Alibaba Cloud's "Signature method" page (RPC style, version 1.0)."""
    url = "https://ecs.aliyuncs.com/?Timestamp=2016-02-23T12%3A46%3A24Z&Format=XML&AccessKeyId=testid&Action=DescribeRegions"
    rest = "&SignatureMethod=HMAC-SHA1&SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&Version=2014-05-26"
    made = signed(
        {
            "secret": "testsecret",
            "text": "{method}&%2F&{sorted_query|url}",
            "key": "{secret}&",
            "digest": "hmac-sha1",
            "put": {"query": {"SignatureVersion": "1.0", "Signature": "{signature}"}},
        },
        request(url + rest),
    )
    assert dict(made.pairs())["Signature"] == "OLeaidS1JvxuMvnyHOwuJ+uX5qY="


def test_aws_version_4() -> None:
    """`get-vanilla` of Amazon's test suite for Signature Version 4; Tencent's TC3 is built the same way."""
    made = signed(
        {
            "key_id": "AKIDEXAMPLE",
            "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "timestamp": "iso-basic",
            "let": {
                "signed": "{header_names:host,x-amz-}",
                "canonical": "{method}\n{path}\n{sorted_query}\n{headers:host,x-amz-}\n{signed}\n{body|sha256|hex}",
                "scope": "{day}/us-east-1/service/aws4_request",
                "start": "AWS4{secret}",
                "us": "us-east-1",
                "service": "service",
                "last": "aws4_request",
                "k1": "{day|hmac-sha256:start}",
                "k2": "{us|hmac-sha256:k1}",
                "k3": "{service|hmac-sha256:k2}",
                "k4": "{last|hmac-sha256:k3}",
            },
            "text": "AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{canonical|sha256|hex}",
            "key": "{k4}",
            "encoding": "hex",
            "put": {
                "headers": {
                    "X-Amz-Date": "{timestamp}",
                    "Authorization": "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={signed}, "
                    "Signature={signature}",
                }
            },
        },
        request("https://example.amazonaws.com/"),
        datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC).timestamp(),
    )
    assert made.header("Authorization") == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )


def test_dingtalk_robot() -> None:
    made = signed(
        {
            "secret": "SECabc",
            "timestamp": "ms",
            "text": "{timestamp}\n{secret}",
            "put": {"query": {"timestamp": "{timestamp}", "sign": "{signature}"}},
        },
        request("https://oapi.dingtalk.com/robot/send?access_token=t"),
    )
    pairs = dict(made.pairs())
    wanted = base64.b64encode(hmac.new(b"SECabc", f"{pairs['timestamp']}\nSECabc".encode(), "sha256").digest()).decode()
    assert pairs == {"access_token": "t", "timestamp": pairs["timestamp"], "sign": wanted}
    assert made.target.endswith(f"&sign={quote(wanted, safe='')}")
    assert len(pairs["timestamp"]) == 13


def test_feishu_robot() -> None:
    """Text and key change places: nothing is signed by `timestamp\\nsecret`, and the result goes into the body."""
    made = signed(
        {
            "secret": "demo",
            "text": "",
            "key": "{timestamp}\n{secret}",
            "put": {"body": {"timestamp": "{timestamp}", "sign": "{signature}"}},
        },
        request("https://open.feishu.cn/open-apis/bot/v2/hook/x", "POST", b'{"msg_type": "text"}'),
        1599360473,
    )
    sign = base64.b64encode(hmac.new(b"1599360473\ndemo", b"", "sha256").digest()).decode()
    assert json.loads(made.body) == {"msg_type": "text", "timestamp": "1599360473", "sign": sign}


def test_sorted_pairs_of_a_form() -> None:
    """The way of Taobao's gateway and of many house-made systems: MD5 of all parameters between two secrets."""
    made = signed(
        {
            "key_id": "app",
            "secret": "s3",
            "digest": "md5",
            "encoding": "HEX",
            "timestamp": "local",
            "text": "{secret}{pairs}{secret}",
            "put": {"body": {"app_key": "{key_id}", "timestamp": "{timestamp}", "sign": "{signature}"}},
        },
        request(
            "https://eco.taobao.com/router/rest?method=a.b",
            "POST",
            b"fields=x%2Cy",
            Content_Type="application/x-www-form-urlencoded",
        ),
    )
    form = dict(parse_qsl(made.body.decode()))
    assert form["timestamp"] == "2026-11-22 12:00:00"
    text = f"s3app_keyappfieldsx,ymethoda.btimestamp{form['timestamp']}s3"
    assert form["sign"] == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()


def test_a_data_service_with_key_pair_nonce_and_time(client: Client) -> None:
    """HMAC-SHA256 over method, path, parameters, time, nonce and body, as FineDataLink's data service and API gateways
    ask for; the peer checks it by itself."""

    def check(asked: Any, out: Any) -> None:
        parts = urlsplit(asked.target)
        words = ["POST", parts.path, "&".join(sorted(parts.query.split("&"))), asked.headers["x-time"]]
        text = "\n".join([*words, asked.headers["x-nonce"], hashlib.sha256(asked.body).hexdigest()])
        good = hmac.new(b"sk", text.encode(), "sha256").hexdigest() == asked.headers["x-sign"]
        out.json({"good": good, "key": asked.headers["x-key"]}, 200 if good else 401)

    signature = {
        "key_id": "ak",
        "secret": "sk",
        "encoding": "hex",
        "text": "{method}\n{path}\n{sorted_query}\n{timestamp}\n{nonce}\n{body|sha256|hex}",
        "put": {
            "headers": {"X-Key": "{key_id}", "X-Time": "{timestamp}", "X-Nonce": "{nonce}", "X-Sign": "{signature}"}
        },
    }
    with HttpPeer({"/service/api": check}) as peer:
        http = client(peer.url, auth={"signature": signature})
        params = [("page", "2"), ("名", "值 1"), ("a", "x/y")]
        for _ in range(2):
            reply = http.send(Call("POST", http.url("service/api"), params, body=b'{"q": 1}'))
            assert json.loads(reply.content) == {"good": True, "key": "ak"}
        nonces = [asked.headers["x-nonce"] for asked in peer.calls]
        assert nonces[0] != nonces[1]


def test_sm3_for_those_who_must() -> None:
    made = signed(
        {"secret": "k", "text": "abc", "digest": "sm3", "encoding": "hex", "put": {"headers": {"S": "{signature}"}}},
        request("https://a.example/"),
    )
    assert made.header("S") == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


@pytest.mark.parametrize("text", ["{methud}", "{body|sha257}", "{body|hmac-sha256:nobody}", "{header:}", "{pairs|}"])
def test_a_template_that_names_nothing_is_refused_before_any_call(text: str) -> None:
    with pytest.raises(InvalidSettingsError, match="does not exist"):
        signed({"secret": "s", "text": text, "put": {"headers": {"S": "{signature}"}}}, request("https://a.example/"))
