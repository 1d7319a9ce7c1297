"""Signatures of deliveries, and what a status means."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tongqu.core.errors import InvalidSettingsError
from tongqu.gateway.webhooks.sending import Delivery, HttpSender, verdict
from tongqu.gateway.webhooks.settings import WebhookEntry
from tongqu.gateway.webhooks.signing import checked, new_secret, signature

NOW = 1_800_000_000.0


def test_the_example_of_the_standard_gives_its_signature() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_asymmetric_secret_signs_by_ed25519() -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    secret = "whsk_" + base64.b64encode(b"\1" * 32).decode()
    scheme, _, text = signature([secret], "msg_1", 1, b"{}").partition(",")
    assert scheme == "v1a"
    private.public_key().verify(base64.b64decode(text), b"msg_1.1.{}")


@pytest.mark.parametrize("secret", ["", "plain", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64", "whsk_c2hvcnQ="])
def test_what_is_no_secret_is_refused_and_not_told(secret: str) -> None:
    with pytest.raises(InvalidSettingsError) as refused:
        checked(secret)
    assert not secret.partition("_")[2] or secret.partition("_")[2] not in str(refused.value)


def test_a_new_secret_is_one() -> None:
    assert checked(new_secret()) != checked(new_secret())


@pytest.mark.parametrize(
    ("status", "after", "told", "wait"),
    [
        (200, "", "taken", 0), (299, "9", "taken", 0), (301, "", "again", 0), (400, "", "again", 0),
        (410, "", "gone", 0), (429, "30", "slower", 30), (429, "99999999", "slower", 86_400), (503, "7", "again", 7),
        (502, "Fri, 15 Jan 2027 08:01:00 GMT", "slower", 60), (504, "soon", "slower", 0), (429, "-5", "slower", 0),
    ],
)  # fmt: skip
def test_a_status_means(status: int, after: str, told: str, wait: float) -> None:
    answered = verdict(status, after, NOW)
    assert (answered.verdict, answered.wait) == (told, wait)


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://100.100.100.200/"])
def test_addresses_of_cloud_metadata_are_never_called(url: str) -> None:
    entry = WebhookEntry.parse({"url": url, "as": "erp", "secret": "${secret:hook}", "seconds": 1})
    sender = HttpSender(entry)
    answered = sender.send(Delivery("msg_1", b"{}", [new_secret()], NOW))
    sender.close()
    assert (answered.verdict, answered.problem) == ("again", "access.egress")
