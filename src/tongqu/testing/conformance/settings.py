"""Settings are declared once and well: described, titled in two languages, secrets marked, names canonical."""

from __future__ import annotations

from typing import Any

import pytest

from tongqu.core.errors import InvalidSettingsError
from tongqu.testing.conformance.place import Place

ALIASES = {
    "hostname": "host", "server": "host", "username": "user", "login": "user", "passwd": "password", "pwd": "password",
    "dbname": "database", "db": "database", "ssl": "tls", "sslmode": "tls", "filename": "path", "file": "path",
}  # fmt: skip
SECRET = ("password", "secret", "token", "passphrase", "api_key")
SENTINEL = "a-secret-that-must-not-show"


class SettingsChecks:
    """What one declaration must give."""

    def test_every_setting_is_described(self, place: Place) -> None:
        properties = type(place.settings).model_json_schema(by_alias=True)["properties"]
        poor = [name for name, schema in properties.items() if len(schema.get("description", "")) < 8]
        assert not poor, f"settings without a docstring under them: {', '.join(poor)}"
        untitled = [n for n, s in properties.items() if not all(s.get("x-i18n", {}).get(lang) for lang in ("zh", "en"))]
        assert not untitled, f"settings without a title in zh and en: {', '.join(untitled)}"

    def test_secrets_are_marked(self, place: Place) -> None:
        properties = type(place.settings).model_json_schema(by_alias=True)["properties"]
        open_ones = [n for n, s in properties.items() if any(w in n for w in SECRET) and '"password"' not in _flat(s)]
        assert not open_ones, f"secrets that are no Secret: {', '.join(open_ones)}"

    def test_names_are_canonical(self, place: Place) -> None:
        wrong = {name: ALIASES[name] for name in type(place.settings).model_fields if name in ALIASES}
        assert not wrong, f"settings with names of their own: {wrong}"

    def test_an_unknown_setting_is_refused_by_name(self, place: Place) -> None:
        given = place.settings.model_dump(by_alias=True)
        with pytest.raises(InvalidSettingsError, match="no_such_setting"):
            type(place.settings).parse(given | {"no_such_setting": 1})

    def test_neither_identity_nor_display_shows_a_secret(self, place: Place) -> None:
        settings = with_secrets(place.settings)
        for shown in (settings.identity(), settings.display(), repr(settings), str(settings)):
            assert SENTINEL not in shown
        assert settings.identity() == place.settings.identity(), "credentials are part of the identity"

    def test_the_connector_presents_itself(self, place: Place) -> None:
        connector = place.connector
        assert connector.title.get("zh")
        assert connector.title.get("en")
        assert connector.label in ("real", "compatible", "mock", "compile-only")
        assert set(connector.guarantee) >= {"zh", "en"}, "the guarantee is told in zh and en"
        assert connector.schemes


def with_secrets(settings: Any) -> Any:
    """The settings with every secret replaced by a sentinel."""
    from pydantic import SecretStr

    names = [n for n, f in type(settings).model_fields.items() if "SecretStr" in str(f.annotation)]
    return settings.model_copy(update={name: SecretStr(SENTINEL) for name in names})


def _flat(schema: Any) -> str:
    import json

    return json.dumps(schema)
