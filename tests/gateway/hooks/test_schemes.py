"""Deliveries are opened if their sender made them, by the vendors' own examples and by code that is not ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook
from wechatpy.enterprise.crypto import WeChatCrypto  # type: ignore[import-untyped]  # it has no types

from tongqu.core.errors import InvalidSettingsError
from tongqu.gateway.hooks.delivery import Delivery, Event, Keys, Probe
from tongqu.gateway.hooks.schemes import verifier
from tongqu.gateway.hooks.sealed import decrypted
from tongqu.gateway.hooks.settings import HookEntry
from tongqu.gateway.problems import Problem

NOW = 1_760_000_000.0
BODY = b'{"order": 7}'
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
SHARED = "whsec_" + base64.b64encode(b"k" * 32).decode()


def entry(verify: str, **more: Any) -> HookEntry:
    values = {"verify": verify, "secret": "${secret:one}", "to": {"connection": "events"}, **more}
    return HookEntry.model_validate(values)


def opened(entry: HookEntry, keys: Keys, delivery: Delivery) -> Event | Probe:
    return verifier(entry, keys).opened(delivery)


def post(
    headers: dict[str, str], body: bytes = BODY, query: dict[str, str] | None = None, now: float = NOW
) -> Delivery:
    return Delivery("POST", query or {}, headers, body, now)


def refused(entry: HookEntry, keys: Keys, delivery: Delivery) -> str:
    with pytest.raises(Problem) as caught:
        opened(entry, keys, delivery)
    return caught.value.code


def standard(secret: str, id: str = "msg_1", at: float = NOW, body: bytes = BODY) -> dict[str, str]:
    signed = Webhook(secret).sign(id, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": id, "webhook-timestamp": str(int(at)), "webhook-signature": signed}


def test_standard_webhooks_signed_by_its_own_library() -> None:
    event = opened(entry("standard"), Keys((SHARED,)), post(standard(SHARED)))
    assert event == Event(BODY, "msg_1")


def test_standard_webhooks_by_public_key() -> None:
    key = Ed25519PrivateKey.generate()
    public = "whpk_" + base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    made = base64.b64encode(key.sign(f"msg_1.{int(NOW)}.".encode() + BODY)).decode()
    headers = {**standard(SHARED), "webhook-signature": f"v1,AAAA v1a,{made}"}
    assert isinstance(opened(entry("standard"), Keys((public,)), post(headers)), Event)
    assert refused(entry("standard"), Keys((public,)), post(headers, b"{}")) == "auth.invalid"


def test_two_secrets_count_while_one_is_rotated() -> None:
    new = "whsec_" + base64.b64encode(b"n" * 32).decode()
    keys = Keys((new, SHARED))
    for secret in (new, SHARED):
        assert isinstance(opened(entry("standard"), keys, post(standard(secret))), Event)
    assert refused(entry("standard"), Keys((new,)), post(standard(SHARED))) == "auth.invalid"


def test_what_was_signed_long_ago_or_ahead_is_refused() -> None:
    for at in (NOW - 301, NOW + 301):
        assert refused(entry("standard"), Keys((SHARED,)), post(standard(SHARED, at=at))) == "auth.expired"
    loose = entry("standard", tolerance_seconds=400)
    assert isinstance(opened(loose, Keys((SHARED,)), post(standard(SHARED, at=NOW - 301))), Event)


def test_what_is_changed_or_unsigned_is_refused() -> None:
    good = standard(SHARED)
    assert refused(entry("standard"), Keys((SHARED,)), post(good, b'{"order": 8}')) == "auth.invalid"
    assert refused(entry("standard"), Keys((SHARED,)), post({**good, "webhook-id": "msg_2"})) == "auth.invalid"
    later = {**good, "webhook-timestamp": str(int(NOW) + 1)}
    assert refused(entry("standard"), Keys((SHARED,)), post(later)) == "auth.invalid"
    assert refused(entry("standard"), Keys((SHARED,)), post({})) == "auth.missing"
    with pytest.raises(InvalidSettingsError) as caught:
        verifier(entry("standard"), Keys(("hunter2",)))
    assert "hunter2" not in str(caught.value)


def test_githubs_documented_example() -> None:
    headers = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "x-github-event": "push",
    }
    keys = Keys(("It's a Secret to Everybody",))
    assert opened(entry("github"), keys, post(headers, b"Hello, World!")) == Event(b"Hello, World!", kind="push")
    assert refused(entry("github"), keys, post(headers, b"Hello, World")) == "auth.invalid"


def test_dingtalks_outgoing_robot() -> None:
    at, secret = str(int(NOW * 1000)), "this is a secret"
    sign = base64.b64encode(hmac.new(secret.encode(), f"{at}\n{secret}".encode(), hashlib.sha256).digest()).decode()
    robot, keys = entry("dingtalk_robot"), Keys((secret,))
    assert opened(robot, keys, post({"timestamp": at, "sign": sign})) == Event(BODY)
    assert refused(robot, keys, post({"timestamp": at, "sign": sign}, now=NOW + 3601)) == "auth.expired"
    assert refused(robot, keys, post({"timestamp": at + "0", "sign": sign})) == "auth.invalid"


def test_wecom_verifies_the_address_by_its_documented_example() -> None:
    keys = Keys(("jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C",), ("QDG6eK",))
    query = {
        "msg_signature": "5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3",
        "timestamp": "1409659589",
        "nonce": "263014780",
        "echostr": "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ==",
    }
    wecom = entry("wecom", token="${secret:token}", owner="wx5823bf96d3bd56c7")
    found = opened(wecom, keys, Delivery("GET", query, {}, b"", 1409659589.0))
    assert isinstance(found, Probe)
    assert found.reply.body == b"1616140317555161061"
    other = wecom.model_copy(update={"owner": "wx0000000000000000"})
    assert refused(other, keys, Delivery("GET", query, {}, b"", 1409659589.0)) == "auth.invalid"
    assert refused(wecom, keys, Delivery("GET", query, {}, b"", NOW)) == "auth.expired"


def test_wecom_messages_sealed_by_wechatpy() -> None:
    from lxml import etree

    message = "<xml><MsgType>event</MsgType><Content>你好</Content></xml>"
    xml = WeChatCrypto("tok", AES_KEY, "corp1").encrypt_message(message, "42", str(int(NOW)))
    query = {"msg_signature": str(etree.fromstring(xml).findtext("MsgSignature")), "timestamp": str(int(NOW)),
             "nonce": "42"}  # fmt: skip
    wecom = entry("wecom", token="${secret:token}", owner="corp1")
    event = opened(wecom, Keys((AES_KEY,), ("old", "tok")), post({}, xml.encode(), query))
    assert isinstance(event, Event)
    assert event.body.decode() == message
    assert refused(wecom, Keys((AES_KEY,), ("old",)), post({}, xml.encode(), query)) == "auth.invalid"
    wrong_key = Keys((AES_KEY[::-1],), ("tok",))
    assert refused(wecom, wrong_key, post({}, xml.encode(), query)) == "auth.invalid"


@pytest.mark.parametrize("kind", ["user_add_org", "check_url"])
def test_dingtalk_events_are_answered_with_a_sealed_success(kind: str) -> None:
    from lxml import etree

    peer = WeChatCrypto("tok", AES_KEY, "suite1")
    message = json.dumps({"EventType": kind})
    xml = etree.fromstring(peer.encrypt_message(message, "42", str(int(NOW * 1000))))
    body = json.dumps({"encrypt": xml.findtext("Encrypt")}).encode()
    query = {"signature": str(xml.findtext("MsgSignature")), "timestamp": str(int(NOW * 1000)), "nonce": "42"}
    dingtalk = entry("dingtalk", token="${secret:token}", owner="suite1")
    found = opened(dingtalk, Keys((AES_KEY,), ("tok",)), post({}, body, query))
    if kind == "check_url":
        assert isinstance(found, Probe)
        reply = found.reply
    else:
        assert isinstance(found, Event)
        assert (found.body.decode(), found.kind) == (message, kind)
        assert found.reply is not None
        reply = found.reply
    assert isinstance(reply.body, bytes)
    told = json.loads(reply.body)
    answer = f"<xml><Encrypt>{told['encrypt']}</Encrypt></xml>"
    assert peer.decrypt_message(answer, told["msg_signature"], told["timeStamp"], told["nonce"]) == "success"


def test_feishus_documented_example_is_decrypted() -> None:
    sealed = base64.b64decode("P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=")
    assert decrypted(hashlib.sha256(b"test key").digest(), sealed[:16], sealed[16:], 16) == b"hello world"


def feishu(message: dict[str, Any], key: str = "test key") -> tuple[dict[str, str], bytes]:
    """Headers and body as Feishu's documents describe them."""
    plain = json.dumps(message).encode()
    count = 16 - len(plain) % 16
    cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(b"i" * 16)).encryptor()
    sealed = b"i" * 16 + cipher.update(plain + bytes([count]) * count) + cipher.finalize()
    body = json.dumps({"encrypt": base64.b64encode(sealed).decode()}).encode()
    signature = hashlib.sha256(f"{int(NOW)}n{key}".encode() + body).hexdigest()
    return {"x-lark-request-timestamp": str(int(NOW)), "x-lark-request-nonce": "n", "x-lark-signature": signature}, body


def test_feishu_events() -> None:
    hook, keys = entry("feishu", token="${secret:token}"), Keys(("test key",), ("tok",))
    headers, body = feishu({"schema": "2.0", "header": {"event_id": "e1", "event_type": "im.x", "token": "tok"}})
    event = opened(hook, keys, post(headers, body))
    assert isinstance(event, Event)
    assert (event.id, event.kind) == ("e1", "im.x")
    assert refused(hook, keys, post({}, body)) == "auth.missing"
    assert refused(hook, Keys(("test key",), ("other",)), post(headers, body)) == "auth.invalid"
    assert refused(hook, keys, post(headers, body + b" ")) == "auth.invalid"
    assert refused(hook, keys, post(headers, b'{"header": {"token": "tok"}}')) == "auth.missing"


def test_feishu_tries_the_address() -> None:
    challenge = {"type": "url_verification", "challenge": "c1", "token": "tok"}
    _, body = feishu(challenge)
    for keys, sent in ((Keys(("test key",), ("tok",)), body), (Keys((), ("tok",)), json.dumps(challenge).encode())):
        found = opened(entry("feishu", token="${secret:token}"), keys, post({}, sent))
        assert isinstance(found, Probe)
        assert found.reply.body == b'{"challenge":"c1"}'


def test_any_hmac() -> None:
    hook = entry("hmac", hmac={"header": "X-Sign", "template": "{timestamp}:{id}:{body}", "timestamp": "X-At",
                               "id": "X-Id", "encoding": "base64", "algorithm": "sha512", "prefix": "v0="})  # fmt: skip
    made = hmac.new(b"s", f"{int(NOW)}:d1:".encode() + BODY, hashlib.sha512).digest()
    headers = {"x-sign": "v0=" + base64.b64encode(made).decode(), "x-at": str(int(NOW)), "x-id": "d1"}
    assert opened(hook, Keys(("s",)), post(headers)) == Event(BODY, "d1")
    assert refused(hook, Keys(("s",)), post({**headers, "x-id": "d2"})) == "auth.invalid"
    assert refused(hook, Keys(("s",)), post(headers, now=NOW + 301)) == "auth.expired"
    assert refused(hook, Keys(("s",)), post({"x-sign": headers["x-sign"]})) == "auth.missing"


def test_a_token() -> None:
    hook = entry("token", show={"header": "Authorization", "prefix": "Bearer "})
    assert opened(hook, Keys(("t",)), post({"authorization": "Bearer t"})) == Event(BODY)
    assert refused(hook, Keys(("t",)), post({"authorization": "Bearer u"})) == "auth.invalid"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"verify": "github", "secret": []}, "`secret` is needed"),
        ({"verify": "github", "secret": "hunter2"}, "pattern"),
        ({"verify": "github", "secret": ["${secret:a}", "${secret:b}", "${secret:c}"]}, "2 items"),
        ({"verify": "wecom"}, "`token` and `owner`"),
        ({"verify": "hmac"}, "go together"),
        ({"verify": "hmac", "hmac": {"header": "x", "template": "{timestamp}", "timestamp": "t"}}, "{body} once"),
        ({"verify": "hmac", "hmac": {"header": "x", "timestamp": "t"}}, "proves nothing"),
        ({"verify": "token", "dedup": {"by": "body", "hours": 1}}, "75"),
    ],
    ids=["no-secret", "literal", "three", "wecom", "no-hmac", "unsigned-body", "unsigned-time", "short"],
)
def test_entries_that_would_be_unsafe(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        entry(**values)
    assert said in str(caught.value)
