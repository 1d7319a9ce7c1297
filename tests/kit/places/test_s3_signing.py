"""Requests to S3 are signed as Amazon's own reference and its own library sign them."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime
from typing import Any

import pytest

from tongqu.kit.places.s3 import Signer

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HOST = "examplebucket.s3.amazonaws.com"
MAY_24 = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_references_example() -> None:
    """`GET ?prefix=J&max-keys=2` of the S3 API reference, "Examples: Signature Calculations"."""
    signed = Signer(KEY, SECRET, "us-east-1", now=lambda: MAY_24).headers(
        "GET", HOST, "/", query=[("max-keys", "2"), ("prefix", "J")]
    )
    assert signed["Authorization"].endswith("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "token"),
    [
        ("GET", "/b/a%20b%2Bc/%E4%B8%AD.csv", (), b"", ""),
        ("PUT", "/b/x", (("partNumber", "2"), ("uploadId", "a+b/c=")), b"content", "a token"),
        ("GET", "/b/", (("list-type", "2"), ("prefix", "中 文/"), ("delimiter", "/")), b"", ""),
    ],
)
def test_as_botocore_signs(method: str, path: str, query: Any, body: bytes, token: str) -> None:
    theirs: Any = importlib.import_module("botocore.auth")
    requests: Any = importlib.import_module("botocore.awsrequest")
    credentials: Any = importlib.import_module("botocore.credentials")
    now = datetime.now(UTC)
    made = Signer(KEY, SECRET, "eu-west-1", token, now=lambda: now).headers(method, HOST, path, query=query, body=body)
    request = requests.AWSRequest(method, f"https://{HOST}{path}", params=list(query), data=body)
    request.headers["X-Amz-Content-SHA256"] = made["x-amz-content-sha256"]
    request.context["payload_signing_enabled"] = True
    auth = theirs.S3SigV4Auth(credentials.Credentials(KEY, SECRET, token or None), "s3", "eu-west-1")
    auth.add_auth(request)
    if request.headers["X-Amz-Date"] != made["x-amz-date"]:  # the second changed between the two
        pytest.fail("run again")
    wanted = request.headers["Authorization"].rpartition("Signature=")[2]
    assert made["Authorization"].rpartition("Signature=")[2] == wanted
