"""What a document requires of calls becomes `auth` of the connection, with a reference in the secret's place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.kit.http.auth_settings import Auth
from tongqu.kit.openapi.document import Document, read_document
from tongqu.kit.openapi.security import auth, required

REFERENCE = "${secret:mes}"


def document(scheme: dict[str, Any], **more: Any) -> Document:
    raw = {"openapi": "3.0.3", "servers": [{"url": "https://mes.example/api"}], "security": [{"way": []}]}
    return read_document(json.dumps({**raw, "components": {"securitySchemes": {"way": scheme}}, **more}).encode(), "x")


@pytest.mark.parametrize(
    ("scheme", "made"),
    [
        ({"type": "http", "scheme": "Bearer"}, {"bearer": REFERENCE}),
        ({"type": "http", "scheme": "basic"}, {"basic": {"user": "…", "password": REFERENCE}}),
        (
            {"type": "apiKey", "name": "X-Key", "in": "header"},
            {"api_key": {"name": "X-Key", "in": "header", "value": REFERENCE}},
        ),
        (
            {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/token"}}},
            {"oauth2": {"token_url": "https://mes.example/token", "client_id": "…", "client_secret": REFERENCE}},
        ),
    ],
)
def test_each_way_is_a_setting_that_the_connection_takes(scheme: dict[str, Any], made: dict[str, Any]) -> None:
    assert auth(document(scheme), REFERENCE) == made
    assert set(Auth.parse(made, "auth").model_fields_set) == set(made)


@pytest.mark.parametrize(
    "scheme",
    [
        {"type": "openIdConnect", "openIdConnectUrl": "https://login.example"},
        {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "/token"}}},
        {"type": "apiKey", "in": "header"},
        {"$ref": "#/nowhere"},
    ],
)
def test_a_way_that_cannot_be_written_down_is_named(scheme: dict[str, Any]) -> None:
    found = document(scheme)
    assert auth(found, REFERENCE) == {}
    assert required(found) == ["way"]


@pytest.mark.parametrize("security", [[], [{}], [{}, {"way": []}], "nonsense"])
def test_what_needs_no_credentials_gets_none(security: Any) -> None:
    found = document({"type": "http", "scheme": "bearer"}, security=security)
    assert auth(found, REFERENCE) == {}
    assert required(found) == []


def test_requirements_may_stand_with_the_operations() -> None:
    paths = {"/open": {"get": {}}, "/orders": {"get": {"security": [{"way": []}]}}}
    assert auth(document({"type": "http", "scheme": "bearer"}, security=[], paths=paths), REFERENCE)


def test_swagger_names_its_ways_elsewhere() -> None:
    raw = {
        "swagger": "2.0",
        "host": "mes.example",
        "securityDefinitions": {"way": {"type": "oauth2", "flow": "application", "tokenUrl": "https://mes.example/t"}},
        "security": [{"way": []}],
    }
    assert auth(read_document(json.dumps(raw).encode(), "x"), REFERENCE)["oauth2"]["client_id"] == "…"
