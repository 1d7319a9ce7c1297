"""`${vault:…}` is read from a real OpenBao: both versions of KV, as root and by AppRole, until a token runs out."""

from __future__ import annotations

import pytest

from tongqu.app.services.secrets import vault
from tongqu.core.errors import AuthError, PrivilegeError, SecretError
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.vault import Vault
from tongqu.testing.services.openbao import OpenBao


def opened(bao: OpenBao, **environ: str) -> Vault:
    return vault(Scrubber(), {"BAO_ADDR": bao.address, **(environ or {"BAO_TOKEN": bao.token})})


def test_fields_of_both_versions(openbao: OpenBao) -> None:
    openbao.put("secret/plant/mes", user="tq", password="hunter2-hunter2")
    old = openbao.database().rpartition("/")[2]
    openbao.put(f"{old}/erp", password="from-version-1")
    ours = opened(openbao)
    assert ours.value("secret/plant/mes#password") == "hunter2-hunter2"
    assert ours.value(f"{old}/erp") == "from-version-1"
    openbao.put("secret/plant/mes", user="tq", password="changed-changed")
    assert opened(openbao).value("secret/plant/mes#password") == "changed-changed"
    openbao.drop(old)


def test_what_is_not_there_or_not_ours_is_named(openbao: OpenBao) -> None:
    openbao.put("secret/own/one", password="hunter2-hunter2")
    openbao.put("secret/other/one", password="hunter2-hunter2")
    with pytest.raises(SecretError, match="there is nothing at 'secret/own/two'"):
        opened(openbao).value("secret/own/two#password")
    with pytest.raises(SecretError, match="has no field 'pasword'") as raised:
        opened(openbao).value("secret/own/one#pasword")
    assert "hunter2" not in raised.value.message + raised.value.hint
    role, secret = openbao.app_role("own", "secret/data/own/*")
    ours = opened(openbao, VAULT_ROLE_ID=role, VAULT_SECRET_ID=secret)
    assert ours.value("secret/own/one#password") == "hunter2-hunter2"
    with pytest.raises(PrivilegeError, match="does not let us read 'secret/other/one'"):
        ours.value("secret/other/one#password")
    with pytest.raises(AuthError, match="refused the AppRole"):
        opened(openbao, VAULT_ROLE_ID=role, VAULT_SECRET_ID="wrong").value("secret/own/one")
    with pytest.raises(PrivilegeError):
        opened(openbao, BAO_TOKEN="not-a-token-of-it").value("secret/own/one")


def test_a_token_that_was_taken_away_is_asked_for_again(openbao: OpenBao) -> None:
    openbao.put("secret/revoked/one", password="hunter2-hunter2")
    openbao.put("secret/revoked/two", password="hunter3-hunter3")
    role, secret = openbao.app_role("revoked", "secret/data/revoked/*")
    ours = opened(openbao, BAO_ROLE_ID=role, BAO_SECRET_ID=secret)
    assert ours.value("secret/revoked/one") == "hunter2-hunter2"
    openbao.ask("POST", "sys/leases/revoke-prefix/auth/approle/login")
    assert ours.value("secret/revoked/two") == "hunter3-hunter3"
