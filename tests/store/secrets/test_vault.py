"""`${vault:…}` is read through the documented HTTP interface of a vault. The vault here is a mock, not a vault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tongqu.app.services.secrets import vault
from tongqu.core.errors import AuthError, PrivilegeError, SecretError
from tongqu.store.references import References
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.vault import Vault
from tongqu.testing.vault import MockVault


@pytest.fixture
def mock() -> Iterator[MockVault]:
    with MockVault() as running:
        running.values = {
            "secret/plant/mes": {"user": "tq", "password": "hunter2-hunter2"},
            "secret/one": {"token": "only-one-field"},
            "old/erp": {"password": "from-version-1"},
        }
        yield running


def opened(mock: MockVault, scrubber: Scrubber | None = None, **environ: str) -> Vault:
    told = environ or {"VAULT_TOKEN": mock.token}
    return vault(scrubber or Scrubber(), {"VAULT_ADDR": mock.address, **told})


def test_fields_of_both_versions(mock: MockVault) -> None:
    ours = opened(mock)
    assert ours.value("secret/plant/mes#password") == "hunter2-hunter2"
    assert ours.value("secret/plant/mes#user") == "tq"
    assert ours.value("secret/one") == "only-one-field"
    assert ours.value("old/erp#password") == "from-version-1"
    assert mock.calls == [
        "GET /v1/sys/internal/ui/mounts/secret/plant/mes",
        "GET /v1/secret/data/plant/mes",
        "GET /v1/sys/internal/ui/mounts/secret/one",
        "GET /v1/secret/data/one",
        "GET /v1/sys/internal/ui/mounts/old/erp",
        "GET /v1/old/erp",
    ]


def test_a_reference_resolves_and_is_never_shown(mock: MockVault, tmp_path: Path) -> None:
    scrubber = Scrubber()
    ours = opened(mock, scrubber)
    references = References(secrets=tmp_path, folder=tmp_path, scrubber=scrubber, environ={}, vault=ours.value)
    found = references.resolve({"auth": {"basic": {"password": "${vault:secret/plant/mes#password}"}}})
    assert found == {"auth": {"basic": {"password": "hunter2-hunter2"}}}
    assert scrubber.text(f"hunter2-hunter2 and {mock.token}") == "*** and ***"


def test_an_app_role_logs_in_and_again_when_its_token_has_run_out(mock: MockVault) -> None:
    ours = opened(mock, VAULT_ROLE_ID=mock.role[0], VAULT_SECRET_ID=mock.role[1], VAULT_NAMESPACE="plant-1")
    assert ours.value("old/erp#password") == "from-version-1"
    mock.token = "another-token-of-the-vault"
    assert ours.value("secret/one") == "only-one-field"
    assert mock.calls.count("POST /v1/auth/approle/login") == 2
    assert set(mock.namespaces) == {"plant-1"}


def test_leases_end_what_is_kept_and_the_token(mock: MockVault) -> None:
    now = 0.0
    ours = opened(mock, VAULT_ROLE_ID=mock.role[0], VAULT_SECRET_ID=mock.role[1])
    ours._clock = lambda: now
    logins = "POST /v1/auth/approle/login"
    for now, asked, reads in ((0.0, 1, 2), (50.0, 1, 2), (59.0, 1, 2), (61.0, 2, 4)):  # noqa: B007  # the clock is it
        assert ours.value("secret/one") == "only-one-field"
        assert (mock.calls.count(logins), sum(one.startswith("GET") for one in mock.calls)) == (asked, reads)


def test_openbao_has_variables_of_its_own(mock: MockVault) -> None:
    assert (
        vault(Scrubber(), {"BAO_ADDR": mock.address, "BAO_TOKEN": mock.token}).value("secret/one") == "only-one-field"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("secret/nothing#x", "there is nothing at 'secret/nothing' in the vault"),
        ("secret/plant/mes#pasword", "has no field 'pasword'"),
        ("secret/plant/mes", "has several fields"),
        ("db/creds", "is in an engine 'database' of the vault"),
        ("secret/../sys/raw#x", "is no path in a vault"),
        ("#x", "is no path in a vault"),
    ],
)
def test_what_is_not_there_is_named(mock: MockVault, name: str, message: str) -> None:
    with pytest.raises(SecretError, match=message) as raised:
        opened(mock).value(name)
    assert "hunter2" not in raised.value.message + raised.value.hint


def test_a_vault_that_refuses_is_told_from_one_that_has_nothing(mock: MockVault) -> None:
    with pytest.raises(PrivilegeError, match="does not let us read 'secret/one'"):
        opened(mock, VAULT_TOKEN="wrong-token-wrong-token").value("secret/one")
    with pytest.raises(PrivilegeError):
        opened(mock).value("closed/one")
    with pytest.raises(AuthError, match="refused the AppRole: invalid role or secret ID"):
        opened(mock, VAULT_ROLE_ID="role-1", VAULT_SECRET_ID="wrong").value("secret/one")


def test_without_an_address_or_token_the_variable_is_named(mock: MockVault) -> None:
    with pytest.raises(SecretError, match="VAULT_ADDR"):
        vault(Scrubber(), {})
    with pytest.raises(SecretError, match="no token for the vault"):
        opened(mock, VAULT_TOKEN="").value("secret/one")
