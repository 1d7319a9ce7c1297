"""The commands `client`, `token`, `user` and `access`: what is shown once is never shown again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
from authlib.integrations.requests_client import OAuth2Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey

from tongqu.app.services.identity import Callers, NewClient, attributes
from tongqu.app.services.people import NewUser, People
from tongqu.app.services.reviewing import Decision, Reviewing, granted
from tongqu.gateway.auth.assembled import Identity
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.versions import Person
from tongqu.testing.command_line import Done, environment, inside, make
from tongqu.testing.services.gateway import Gateway

PASSWORD = "correct horse battery staple"


def user(folder: Path, *arguments: str, stdin: str = "") -> Done:
    command = [sys.executable, "-m", "tongqu", "user", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(folder), input=stdin, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert PASSWORD not in done.stdout + done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_client_gets_a_key_and_a_token(tmp_path: Path) -> None:
    made = inside(tmp_path, "client", "add", "mes", "--role", "quality", "--attribute", "plant=3", "--json").document
    assert set(made) == {"client_id", "client_secret", "key_id", "expires"}
    token = inside(tmp_path, "token", "issue", "mes", "--ttl", "5m", "--json").document
    assert token["expires_in"] == 300
    identity = Identity.open(Home(tmp_path / "home"), Scrubber(), IdentitySettings())
    known = identity.access.known(identity.access.claims(token["access_token"]))
    assert (known.actor.id, known.actor.attributes["plant"]) == ("client:mes", 3)
    identity.close()
    listed = inside(tmp_path, "client", "list", "--json")
    assert made["client_secret"] not in listed.out
    assert listed.document["clients"][0]["keys"][0]["id"] == made["key_id"]


PROJECT = """
project: p
connections: {lake: {type: sqlite, path: q.db}}
datasets:
  inspection: {fields: {id: {type: int64, class: internal}, plant: {type: string, class: internal}}}
apis:
  inspections:
    source: {connection: lake, dataset: inspection}
    access: {roles: [quality], rows: "plant = actor.plant"}
"""


def test_a_client_calls_a_gateway_until_it_is_cut_off(tmp_path: Path) -> None:
    make(tmp_path / "q.db", "inspection", "id INTEGER PRIMARY KEY, plant TEXT", [(1, "3"), (2, "4")])
    (tmp_path / "tongqu.yaml").write_text(PROJECT)
    made = inside(tmp_path, "client", "add", "mes", "--role", "quality", "--attribute", 'plant="3"', "--json").document
    with Gateway(tmp_path) as gateway, OAuth2Session("mes", made["client_secret"]) as client:
        client.fetch_token(f"{gateway.url}/oauth/token")
        url = f"{gateway.url}/api/v1/inspections"
        assert client.get(url).json() == [{"id": 1, "plant": "3"}]
        began = time.monotonic()
        inside(tmp_path, "client", "revoke", "mes")
        while client.get(url).status_code == 200:
            assert time.monotonic() - began < 2  # the command's own time and one second
        assert client.get(url).json()["code"] == "auth.invalid"


def test_attributes_as_people_write_them() -> None:
    told = attributes(["plant=3", 'line="3"', "night=true", "site=a", "site=b", "name=a=b"])
    assert told == {"plant": 3, "line": "3", "night": True, "site": ["a", "b"], "name": "a=b"}


def test_keys_of_every_kind(tmp_path: Path) -> None:
    for key, names in (("api-key", {"api_key", "key_id"}), ("signature", {"secret_key", "access_key_id"})):
        made = inside(tmp_path, "client", "add", f"c-{key}", "--key", key, "--json").document
        assert names <= set(made)
    private = ECKey.generate_key("P-256")
    (tmp_path / "public.json").write_text(json.dumps({"keys": [private.as_dict(private=False)]}))
    (tmp_path / "private.json").write_text(json.dumps(private.as_dict(private=True)))
    assert inside(tmp_path, "client", "add", "jwt", "--jwks", "public.json", "--json").document == {"client_id": "jwt"}
    assert inside(tmp_path, "client", "add", "jwt2", "--jwks", "private.json").code == 2
    assert inside(tmp_path, "client", "add", "app", "--public", "--redirect", "http://evil.test/").code == 2
    (tmp_path / "plc.pem").write_bytes(certificate())
    told = inside(tmp_path, "client", "add", "plc", "--certificate", "plc.pem", "--json")
    assert told.document == {"client_id": "plc"}
    [ending] = inside(tmp_path, "access", "expiring", "--json").document["expiring"]
    assert (ending["subject"], ending["days"]) == ("client:plc", 19)
    assert inside(tmp_path, "access", "expiring", "--new").code == 3
    assert inside(tmp_path, "access", "expiring", "--new").code == 0  # warned once


def certificate() -> bytes:
    key, now = generate_private_key(SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "plc")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1),
                                   now + timedelta(20))  # fmt: skip
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_rotation_keeps_two_secrets(tmp_path: Path) -> None:
    inside(tmp_path, "client", "add", "mes")
    inside(tmp_path, "client", "rotate", "mes", "--overlap", "2d")
    inside(tmp_path, "client", "rotate", "mes", "--overlap", "2d")
    [client] = inside(tmp_path, "client", "list", "--json").document["clients"]
    assert [key["alive"] for key in client["keys"]] == [False, True, True]
    assert client["keys"][2]["expires"] == ""


def test_what_is_refused(tmp_path: Path) -> None:
    inside(tmp_path, "client", "add", "mes")
    wrong = [
        ("add", "mes"),
        ("add", "x", "--attribute", "plant"),
        ("add", "x", "--expires", "2020-01-01"),
        ("add", "x", "--key", "password"),
        ("rotate", "nobody"),
        ("rotate", "mes", "--overlap", "soon"),
    ]
    for arguments in wrong:
        done = inside(tmp_path, "client", *arguments, "--json")
        assert (done.code, done.document["ok"]) == (2, False), arguments
    assert inside(tmp_path, "token", "issue", "mes", "--ttl", "2h").code == 2
    inside(tmp_path, "client", "disable", "mes")
    assert inside(tmp_path, "token", "issue", "mes").code == 2
    assert inside(tmp_path, "client", "remove", "mes").code == 0
    assert inside(tmp_path, "client", "remove", "mes").code == 2


def test_signing_keys_change_on_demand(tmp_path: Path) -> None:
    [first] = inside(tmp_path, "token", "keys", "--json").document["keys"]
    assert len(inside(tmp_path, "token", "keys", "--rotate", "--json").document["keys"]) == 2
    [only] = inside(tmp_path, "token", "keys", "--at-once", "--json").document["keys"]
    assert only["kid"] != first["kid"]


def test_people_come_with_a_password_and_a_second_factor(tmp_path: Path) -> None:
    [made] = user(tmp_path, "add", "zhang", "--duty", "security", "--json", stdin=PASSWORD + "\n").document["users"]
    assert (made["duties"], made["state"], made["second_factor"], made["must_change"]) == (
        ["security"], "active", False, True,
    )  # fmt: skip
    assert user(tmp_path, "add", "li", "--json", stdin="password2026").code == 2
    told = inside(tmp_path, "user", "totp", "zhang", "--json").document
    assert inside(tmp_path, "user", "totp", "zhang", "--code", "12345").code == 2
    code = pyotp.TOTP(told["secret"]).now()
    assert inside(tmp_path, "user", "totp", "zhang", "--code", code, "--json").document["confirmed"] is True
    for command in ("unlock", "logout", "disable", "enable"):
        assert inside(tmp_path, "user", command, "zhang").code == 0
    assert user(tmp_path, "password", "zhang", stdin="a quiet harbour in march").code == 0
    [listed] = inside(tmp_path, "user", "list", "--json").document["users"]
    assert (listed["name"], listed["id"], listed["second_factor"]) == ("zhang", made["id"], True)


def test_the_section_identity_of_a_project_counts(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("project: p\nidentity: {profile: mlps, audience: plant}\n")
    both = ("--duty", "system", "--duty", "audit")
    assert user(tmp_path, "add", "zhang", *both, "--json", stdin="Mountain-97 rain").code == 2  # kept apart
    assert user(tmp_path, "add", "zhang", "--json", stdin=PASSWORD).code == 2  # one kind of characters
    assert user(tmp_path, "add", "zhang", "--json", stdin="Mountain-97 rain").code == 0
    mixed = ("--role", "system_admin", "--role", "audit_admin")
    assert inside(tmp_path, "client", "add", "robot", *mixed).code == 2  # programs neither
    (tmp_path / "tongqu.yaml").write_text("project: p\nidentity: {profil: mlps}\n")
    [problem] = inside(tmp_path, "check", "--json").document["problems"]
    assert (problem["code"], problem["path"].endswith("identity.profil")) == ("config.invalid_settings", True)


APIS: dict[str, Any] = {
    "inspections": {"access": {"roles": ["quality"]}},
    "payroll": {"access": {"rules": [{"roles": ["hr"]}], "fields": {"name": {"roles": ["boss"]}}}},
}


def test_a_review_finds_what_is_unused_and_too_broad_and_is_signed_off(tmp_path: Path) -> None:
    at = [datetime(2026, 1, 1, tzinfo=UTC)]
    home, who = Home(tmp_path / "home"), ["auditor"]
    callers = Callers(home, Scrubber(), IdentitySettings, lambda: at[0])
    calls = {"client:mes": frozenset({"inspections"})}
    reviewing = Reviewing(callers, lambda: granted(APIS), lambda actor: calls.get(actor, frozenset()),
                          lambda: Person(who[0], "root"))  # fmt: skip
    callers.add(NewClient("mes", ("quality", "hr", "gone")))
    People(callers).add(NewUser("zhang", duties=("system", "audit")), lambda: PASSWORD)

    def found(subject: str) -> list[tuple[str, str]]:
        told = {one["subject"]: one for one in reviewing.review(90)["subjects"]}[subject]
        return [(one["code"], one["about"]) for one in told["findings"]]

    assert found("client:mes") == [("role.empty", "gone")]
    assert found("user:zhang") == [("second_factor", ""), ("duties", "audit_admin, system_admin")]
    at[0] += timedelta(days=100)
    with callers.opened() as identities:
        identities.clients.was_used("mes")
    assert [code for code, _ in found("client:mes")] == ["role.empty", "role.unused", "key.unused"]
    assert ("unused", "") in found("user:zhang")

    done = reviewing.sign_off(Decision("client:mes", withdraw=("hr", "gone"), reason="never used"))
    assert (done["decision"], done["actor"]) == ("withdrawn", "auditor")
    assert [code for code, _ in found("client:mes")] == ["key.unused"]
    reviewing.sign_off(Decision("user:zhang", disable=True))
    assert reviewing.sign_off(Decision("client:mes", reason="needed in March"))["decision"] == "kept"
    told = [(one["subject"], one["decision"], one["actor"]) for one in reviewing.history("")["reviews"]]
    assert told == [("client:mes", "kept", "auditor"), ("user:zhang", "disabled", "auditor"),
                    ("client:mes", "withdrawn", "auditor")]  # fmt: skip


def test_decisions_on_the_command_line(tmp_path: Path) -> None:
    inside(tmp_path, "client", "add", "mes", "--role", "quality")
    assert inside(tmp_path, "access", "decide", "client:mes").code == 2
    assert inside(tmp_path, "access", "decide", "client:mes", "--keep", "--withdraw", "quality").code == 2
    assert inside(tmp_path, "access", "decide", "client:mes", "--withdraw", "hr").code == 2
    assert inside(tmp_path, "access", "decide", "client:mes", "--withdraw", "quality", "--reason", "left").code == 0
    [client] = inside(tmp_path, "client", "list", "--json").document["clients"]
    assert client["roles"] == []
    own = ("access", "decide", "user:zhang", "--keep")
    user(tmp_path, "add", "zhang", stdin=PASSWORD)
    assert inside(tmp_path, *own, TONGQU_ACTOR="zhang").code == 2  # nobody signs off their own rights
    assert inside(tmp_path, *own, TONGQU_ACTOR="li").code == 0
    assert inside(tmp_path, "access", "history", "user:zhang").code == 0
    assert inside(tmp_path, "access", "review", "--lang", "zh").code == 0
