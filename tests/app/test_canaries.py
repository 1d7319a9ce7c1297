"""Thirty canary secrets go in through every door; nothing that Tongqu prints or keeps may hold one, in no encoding."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote, quote_plus, urlsplit

import pytest

from tongqu.testing.command_line import environment, make
from tongqu.testing.services import MariaDB, Postgres
from tongqu.testing.vault import MockVault

HARD = 'c4n@ry/+%20"<密>\\'
"""What makes a secret look different in a URL, in JSON, in Python and in HTML."""
NONE: Mapping[str, str] = {}
PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(f"c4narypem{n}" * 4 for n in range(3)) + "\n-----END PRIVATE KEY-----"


def canary(number: int, hard: str = "") -> str:
    return f"c4n4ry{number:02}{hard}{base64.b16encode(bytes([number]) * 6).decode().lower()}"


class _Echo(BaseHTTPRequestHandler):
    """Refuses everybody, and says back all that it was told."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        told = json.dumps({"error": f"{self.path} {dict(self.headers)} {body}", "detail": dict(self.headers)}).encode()
        self.send_response(401)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(told)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(told)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def echo() -> Iterator[str]:
    """The address of a server that says everything back."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass
class Field:
    """A folder in which commands run, and everything that was seen of them."""

    folder: Path
    environ: dict[str, str]
    secrets: list[str] = field(default_factory=list)
    inputs: list[Path] = field(default_factory=list)
    """Files that a person wrote with a secret in them."""
    shown: list[tuple[str, bytes]] = field(default_factory=list)

    def canary(self, number: int, hard: str = "") -> str:
        self.secrets.append(canary(number, hard))
        return self.secrets[-1]

    def keep(self, secret: str) -> str:
        self.secrets.append(secret)
        return secret

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        self.inputs.append(path)

    def run(self, *arguments: str, stdin: str = "", code: int | None = None, environ: Mapping[str, str] = NONE) -> str:
        """Run a command, watching what it is called meanwhile; its standard output."""
        quiet = not found(" ".join(arguments).encode(), self.secrets)  # a password there is seen for a moment
        with _started(self.folder, arguments, {**self.environ, **environ}) as process:
            done = Event()
            watcher = Thread(target=self._watch, args=(process.pid, done))
            if quiet:
                watcher.start()
            out, err = process.communicate(stdin, timeout=60)
            done.set()
            if quiet:
                watcher.join()
        told = " ".join(arguments[:2])
        self.shown += [(f"stdout of {told}", out.encode()), (f"stderr of {told}", err.encode())]
        assert code is None or process.returncode == code, err
        assert '"internal"' not in out, err
        return out

    def _watch(self, pid: int, done: Event) -> None:
        while not done.wait(0.02):
            try:
                self.shown.append(("the process's name", Path(f"/proc/{pid}/cmdline").read_bytes()))
            except OSError:
                return

    def hits(self) -> list[str]:
        """Where a secret can be found."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path not in self.inputs]
        places = [*self.shown, *((str(path.relative_to(self.folder)), path.read_bytes()) for path in files)]
        return sorted({f"{secret!r} in {place}" for place, seen in places for secret in found(seen, self.secrets)})


def _started(folder: Path, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tongqu", *arguments], cwd=folder, env=environment(folder, **environ), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip


def found(seen: bytes, secrets: list[str]) -> list[str]:
    """The secrets that somebody could read out of these bytes, as they are, escaped, or in base64 or hex."""
    views = [seen]
    for run in re.findall(rb"[A-Za-z0-9+/_-]{12,}", seen):
        plain = run.replace(b"-", b"+").replace(b"_", b"/")
        views += [_decoded(plain[at:]) for at in range(4)]
    views += [bytes.fromhex(run.decode()[: len(run) // 2 * 2]) for run in re.findall(rb"[0-9a-fA-F]{12,}", seen)]
    whole = b"\0".join(views)
    return [secret for secret in secrets if any(form in whole for form in forms(secret))]


def _decoded(text: bytes) -> bytes:
    whole = text[:-1] if len(text) % 4 == 1 else text
    return base64.b64decode(whole + b"=" * (-len(whole) % 4))


def forms(secret: str) -> set[bytes]:
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    texts |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    texts |= set(secret.splitlines()[1:-1]) if "\n" in secret else set()
    return {text.encode() for text in texts}


def test_the_search_finds_what_it_looks_for() -> None:
    secret = canary(1, HARD)
    basic = base64.b64encode(f"user:{secret}".encode())
    for seen in (
        secret.encode(),
        b"x" + basic,
        quote(secret).encode(),
        secret.encode().hex().encode(),
        repr([secret]).encode(),
    ):
        assert found(b"before " + seen + b" after", [secret, "another-one"]) == [secret]


@pytest.fixture
def plant(tmp_path: Path, postgres: Postgres, mariadb: MariaDB) -> Iterator[Field]:
    with MockVault() as vault, echo() as api:
        here = Field(tmp_path, {"VAULT_ADDR": vault.address})
        pg = urlsplit(postgres.database()).netloc.rpartition("@")[2]
        my = urlsplit(mariadb.database()).netloc.rpartition("@")[2]
        vault.token = here.keep(canary(1))
        vault.role = ("role-1", here.canary(2))
        vault.values = {
            "secret/plant": {"password": here.canary(3), "url": f"postgresql://app:{here.canary(4)}@{pg}/x"},
            "old/erp": {"password": here.canary(5, HARD)},
        }
        here.environ |= {
            "VAULT_ROLE_ID": "role-1",
            "VAULT_SECRET_ID": vault.role[1],
            "PG_PASSWORD": here.canary(6, HARD),
            "PG_URL": f"postgresql://app:{here.canary(7)}@{pg}/x",
            "TONGQU_SECRET_from_env": here.canary(8),
            "MASK_KEY": here.canary(9),
            "API_TOKEN": here.canary(10),
            "API_KEY": here.canary(31, HARD),
        }
        here.write("home/secrets/plain", here.canary(11))
        here.write("home/secrets/moved", here.canary(12))
        here.write("password.txt", here.canary(13, HARD))
        here.write("url.txt", f"mysql://app:{here.canary(14)}@{my}/x")
        here.write("key.pem", here.keep(PEM))
        here.write("sm4.hex", here.keep("5f" * 16))
        literal, in_url = here.canary(15), here.canary(16)
        (pg_host, _, pg_port), deep = pg.partition(":"), here.canary(30)
        values = {"pg": pg, "pg_host": pg_host, "pg_port": pg_port, "my": my, "api": api, "t": DATASETS}
        here.write("tongqu.yaml", PROJECT.format(literal=literal, in_url=in_url, deep=deep, **values))
        here.environ |= {"PG": pg, "MY": my}
        make(tmp_path / "a.db", "people", "id INTEGER PRIMARY KEY, name TEXT, salary TEXT", [(1, "李", "9000")])
        yield here


DATASETS = "datasets: {t: {path: /t}}"
PROJECT = """
connections:
  a: {{type: sqlite, path: a.db}}
  b: {{type: sqlite, path: b.db}}
  by_env: {{url: "postgresql://app:${{env:PG_PASSWORD}}@{pg}/x"}}
  by_variable: {{url: "mysql://app:${{secret:from_env}}@{my}/x"}}
  by_store: {{type: postgres, host: {pg_host}, port: {pg_port}, database: x, user: app, password: "${{secret:sealed}}"}}
  by_plain_file: {{url: "mysql://app:${{secret:plain}}@{my}/x"}}
  by_moved_file: {{url: "postgresql://app:${{secret:moved}}@{pg}/x"}}
  by_file: {{url: "mysql://app:${{file:password.txt}}@{my}/x"}}
  by_pem: {{type: postgres, host: {pg_host}, port: {pg_port}, database: x, user: app, password: "${{file:key.pem}}"}}
  by_vault: {{url: "postgresql://app:${{vault:secret/plant#password}}@{pg}/x"}}
  by_old_vault: {{type: mysql, url: "mysql://app@{my}/x", password: "${{vault:old/erp#password}}"}}
  as_user: {{url: "postgresql://${{secret:as_user}}@{pg}/x"}}
  as_database: {{url: "postgresql://app@{pg}/${{secret:as_database}}"}}
  literal: {{type: mysql, url: "mysql://app@{my}/x", password: {literal}}}
  in_url: {{type: postgres, url: "postgresql://app:{in_url}@{pg}/x"}}
  basic: {{type: rest, base_url: "{api}/b", auth: {{basic: {{user: tq, password: "${{secret:sealed}}"}}}}, {t}}}
  bearer: {{type: rest, base_url: "{api}/t", auth: {{bearer: {{token: "${{env:API_TOKEN}}"}}}}, {t}}}
  in_query: {{type: rest, base_url: "{api}/q", query: {{api_key: "${{env:API_KEY}}"}}, {t}}}
  in_header: {{type: rest, base_url: "{api}/h", headers: {{X-Api-Key: "${{file:password.txt}}"}}, {t}}}
  oauth: {{type: rest, base_url: "{api}/o", {t}, auth: {{oauth2: {{token_url: "{api}/token", client_id: tq,
    client_secret: "${{vault:secret/plant#password}}"}}}}}}
  deep: {{type: rest, base_url: "{api}/d", auth: {{bearer: {{token: {deep}}}}}, {t}}}
pipelines:
  people:
    source: {{connection: a, dataset: people}}
    steps:
      - encrypt: {{columns: [salary], key: "${{secret:key}}"}}
      - mask: {{name: {{with: hash, key: "${{env:MASK_KEY}}"}}}}
    sink: {{connection: b, dataset: people, write: replace}}
  people_gm:
    source: {{connection: a, dataset: people}}
    steps:
      - encrypt: {{columns: [salary], key: "${{file:sm4.hex}}", algorithm: sm4-gcm}}
    sink: {{connection: b, dataset: people_gm, write: replace}}
  failing: {{source: {{connection: by_store, dataset: t}}, sink: {{connection: by_old_vault}}}}
"""


def test_no_canary_is_seen_again(plant: Field) -> None:
    keys(plant)
    doors(plant)
    runs(plant)
    assert len(plant.secrets) >= 30
    plant.inputs += [plant.folder / "home/secret.key", plant.folder / "other/secret.key"]
    assert plant.hits() == []


def keys(plant: Field) -> None:
    """Secrets are kept, replaced, removed, taken over and put under other keys."""
    plant.run("secret", "init", "--json", code=0)
    names = {"sealed": 17, "as_user": 18, "as_database": 19, "gone": 20, "url": 21}
    values = {name: plant.canary(number, HARD if name == "sealed" else "") for name, number in names.items()}
    values["url"] = f"postgresql://app:{values['url']}@{plant.environ['PG']}/x"
    plant.run("secret", "set", "sealed", stdin=plant.canary(22), code=0)
    for name in ("sealed", "gone"):
        plant.run("secret", "set", name, stdin=values.pop(name), code=0)
    for name, value in values.items():
        plant.write(f"home/secrets/{name}", value)
    plant.run("secret", "set", "key", "--json", stdin=plant.keep("a7" * 32), code=0)
    plant.run("secret", "remove", "gone", code=0)
    plant.run("secret", "import", "--delete", "--json", code=0)
    plant.inputs = [path for path in plant.inputs if path.parent.name != "secrets"]  # their contents must be gone
    plant.run("secret", "rotate", "--profile", "gm", code=0)
    plant.secrets += (plant.folder / "home/secret.key").read_text(encoding="utf-8").splitlines()[1:]
    key = plant.keep(base64.b64encode(os.urandom(32)).decode())
    other = {"TONGQU_HOME": str(plant.folder / "other"), "TONGQU_SECRET_KEY": key}
    plant.run("secret", "init", environ=other)
    plant.run("secret", "set", "mine", "--debug", stdin=plant.canary(23), environ=other)
    plant.run(
        "check", "postgresql://x:${env:TONGQU_SECRET_KEY}@127.0.0.1:1/x", "--debug", "--json", code=2, environ=other
    )
    plant.run(
        "secret", "check", "--json", "--debug", code=1, environ={**other, "TONGQU_SECRET_KEY": plant.keep("9c" * 16)}
    )
    plant.run("secret", "check", "--json", code=0)


def doors(plant: Field) -> None:
    """Every connection is tried; the servers know none of these users."""
    document = json.loads(plant.run("check", "--json", "--debug", code=1))
    assert {problem["code"] for problem in document["problems"]} <= {
        "connector.auth", "connector.not_found", "connector.privilege", "project.literal_secret"
    }  # fmt: skip
    assert len(document["connections"]) == 21
    pg, my = plant.environ["PG"], plant.environ["MY"]
    places = ["${env:PG_URL}", "${secret:url}", "${file:url.txt}", "${vault:secret/plant#url}"]
    places += [f"postgresql://app:{quote(plant.canary(24, HARD), safe='')}@{pg}/x"]
    places += [f"postgresql://{pg}/x?user=app&password={plant.canary(25)}", f"mysql://app:{plant.canary(26)}@{my}/x"]
    places += [
        f"postgresql://app:{plant.canary(27)}/with-a-slash@{pg}/x",
        "postgresql://app@127.0.0.1:${secret:as_database}/x",
    ]
    for at, place in enumerate(places):
        language = "zh" if at % 2 else "en"
        common = ("--json", "--debug", "--progress", "jsonl", "--lang", language)
        plant.run("sync", place, "sqlite:c.db", *common, code=2 if at > 6 else 1)
    plant.run("diff", places[0], places[2], "--table", "t", "--json", "--debug", code=1)
    plant.run("profile", places[1], "--table", "t", "--json", "--debug", code=1)
    plant.run("sync", "a", places[3], "--json", "--debug", code=1)
    for name in ("basic", "in_query"):
        plant.run("sync", name, "sqlite:c.db", "--table", "t", "--json", "--debug", code=1)
    wrong = {"VAULT_SECRET_ID": plant.canary(28), "VAULT_TOKEN": ""}
    plant.run("sync", places[3], "sqlite:c.db", "--json", "--debug", code=1, environ=wrong)
    plant.run("sync", places[3], "sqlite:c.db", "--json", code=1, environ={"VAULT_TOKEN": plant.canary(29)})


def runs(plant: Field) -> None:
    """Runs that use keys, what is written down about them, and what the project looks like to others."""
    common = ("--json", "--debug", "--progress", "jsonl")
    plant.run("run", "people", "people_gm", *common, code=0)
    plant.run("run", "failing", *common, code=1)
    plant.run("apply", "--reason", "canaries", "--json", code=0)
    plant.run("versions", "show", "1", "--json", code=0)
    failed = json.loads(plant.run("runs", "list", "--json", code=0))["runs"][0]["run"]
    plant.run("runs", "show", failed, "--json", code=0)
    plant.run("runs", "logs", failed, "--json", code=0)
    plant.run("docs", "--out", "documentation", code=0)
    uses = json.loads(plant.run("secret", "usage", "--json", "--limit", "500", code=0))["uses"]
    assert {use["kind"] for use in uses} == {"env", "secret", "file", "vault"}
    assert any(use["name"] == "key" and use["command"] == "run" and use["run"] for use in uses)
