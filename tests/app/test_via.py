"""Systems that are reached through jump hosts, proxies and agents, from the command line."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside, make, query, start, tongqu
from tongqu.testing.psql import execute
from tongqu.testing.services import FaultProxy, Sshd
from tongqu.testing.services.forward_proxies import SocksProxy
from tongqu.testing.ways import jump


def project(folder: Path, **connections: Any) -> None:
    """A project with these connections."""
    (folder / "tongqu.yaml").write_text(json.dumps({"connections": connections}))


def test_a_database_behind_a_jump_host(tmp_path: Path, pg_url: str, sshd: Sshd) -> None:
    make(tmp_path / "a.db", "orders", "id INTEGER PRIMARY KEY, name TEXT", ((n, f"n{n}") for n in range(1, 3001)))
    (tmp_path / "key").write_bytes(sshd.key_file.read_bytes())
    way = jump(sshd, key_file="key", user="${env:JUMP_USER}")
    project(tmp_path, plant={"url": pg_url, "via": [way]}, lake={"url": "sqlite:b.db"})
    for arguments in (["sqlite:a.db", "plant"], ["plant", "lake"]):
        done = tongqu(tmp_path, "sync", *arguments, "--table", "orders", "--json", JUMP_USER=sshd.user)
        assert done.code == 0, done.err
        assert done.document["streams"][0]["written"] == 3000
    assert query(tmp_path / "b.db", "SELECT count(*), max(name) FROM orders") == [(3000, "n999")]
    checked = inside(tmp_path, "check", "plant", "--json", JUMP_USER=sshd.user).document["connections"][0]["stages"]
    assert checked[:2] == ["hop 1 ssh:127.0.0.1", "tcp"]
    assert "login" in checked


def test_a_line_that_breaks_is_dialled_again(tmp_path: Path, pg_url: str, sshd: Sshd) -> None:
    execute(pg_url, "create table orders (id int primary key, v text)")
    execute(pg_url, "insert into orders select g, repeat('x', 200) from generate_series(1, 60000) g")
    before = sshd.log_file.read_text().count("Accepted publickey")
    with FaultProxy(sshd.host, sshd.port) as line:
        project(tmp_path, plant={"url": pg_url, "via": [jump(sshd, port=line.port)]})
        options = ["--chunk-rows", "5000", "--splits", "1", "--progress", "jsonl", "--json"]
        with start(tmp_path, "sync", "plant", "sqlite:b.db", *options) as process:
            assert process.stderr is not None
            process.stderr.readline()
            line.cut()
            line.heal()
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["streams"][0]["written"] == 60000
    assert query(tmp_path / "b.db", "SELECT count(*), count(DISTINCT id) FROM orders") == [(60000, 60000)]
    assert sshd.log_file.read_text().count("Accepted publickey") - before >= 2


def test_check_names_the_failing_hop(tmp_path: Path, pg_url: str, sshd: Sshd) -> None:
    with SocksProxy() as gone:
        ways = {"proxy": gone.url}
    project(
        tmp_path,
        lost={"url": pg_url, "via": [jump(sshd), ways]},
        alien={"url": pg_url, "via": [jump(sshd, fingerprint=f"SHA256:{'A' * 43}")]},
        absent={"url": pg_url, "via": [{"agent": "plant2"}]},
    )
    done = inside(tmp_path, "check", "--json")
    assert done.code == 1
    problems = done.document["problems"]
    found = {problem["path"].split(":")[0]: (problem["code"], problem["message"]) for problem in problems}
    assert found["lost"][1].startswith("hop 2 proxy:127.0.0.1 is not reached: hop 1 ssh:127.0.0.1 gives no connection")
    assert found["alien"] == ("connector.auth", "hop 1 ssh:127.0.0.1: the host key is not the one that was pinned")
    assert found["absent"] == ("config.invalid_settings", "hop 1 agent:plant2: no hub runs in this project's home")


def test_a_wrong_way_is_refused_from_the_file_alone(tmp_path: Path) -> None:
    project(
        tmp_path,
        one={"type": "postgres", "via": [{"ssh": {"host": "jump", "user": "ann", "key": "k"}}]},
        two={"type": "mysql", "database": "d", "via": [{"tunnel": "x"}]},
        three={"type": "postgres", "via": [{"proxy": "http://ann:s3cret-word@proxy"}]},
        fine={"type": "postgres", "via": [{"proxy": "${secret:PROXY}"}]},
    )
    done = inside(tmp_path, "check", "--json")
    assert done.code == 2
    words = [problem["message"] for problem in done.document["problems"]]
    assert len(words) == 3
    assert "an unknown one is never trusted" in words[0]
    assert "s3cret" not in done.out + done.err


def test_a_site_is_reached_through_its_agent(tmp_path: Path, pg_url: str) -> None:
    port = int(re.findall(r":(\d+)/", pg_url)[0])
    execute(pg_url, "create table orders (id int primary key); insert into orders select generate_series(1, 500)")
    project(tmp_path, plant={"url": pg_url, "via": [{"agent": "plant2"}]})
    token = inside(tmp_path, "agent", "add", "plant2", "--json").document
    assert inside(tmp_path, "agent", "list", "--json").document == {
        "hub": False, "agents": [{"name": "plant2", "role": "agent", "connected": None}],
    }  # fmt: skip
    hub = start(tmp_path, "agent", "hub", "--listen", "127.0.0.1:0")
    assert hub.stderr is not None
    listening = re.search(r"127\.0\.0\.1:\d+", hub.stderr.readline())
    assert listening
    site = tmp_path / "site"
    site.mkdir()
    options = ["--hub", listening[0], "--name", "plant2", "--fingerprint", token["fingerprint"]]
    agent = start(
        site, "agent", "run", *options, "--token", "${env:AGENT}", "--allow", f"127.0.0.1:{port}", AGENT=token["token"]
    )
    assert agent.stderr is not None
    try:
        assert "is connected" in agent.stderr.readline()
        assert inside(tmp_path, "agent", "list", "--json").document["agents"][0]["connected"] is True
        done = tongqu(tmp_path, "sync", "plant", "sqlite:b.db", "--json")
        assert done.code == 0, done.err
        assert query(tmp_path / "b.db", "SELECT count(*) FROM orders") == [(500,)]
    finally:
        for process in (agent, hub):
            process.send_signal(signal.SIGTERM)
            told = "".join(process.communicate(timeout=20))
            assert process.returncode == 0, told
            assert token["token"] not in told
    assert not (tmp_path / "home" / "hub.json").exists()


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["--token", "the-token-itself", "--allow", "h:1"], "--token"),
        (["--token", "${env:AGENT}"], "--allow"),
        (["--token", "${env:AGENT}", "--allow", "h"], "--allow"),
    ],
)
def test_an_agent_with_wrong_arguments(tmp_path: Path, arguments: list[str], path: str) -> None:
    options = ["--hub", "hq:8722", "--name", "p", "--fingerprint", f"SHA256:{'A' * 43}", *arguments]
    done = inside(tmp_path, "agent", "run", *options, "--json", AGENT="word-for-agents")
    assert done.code == 2
    assert done.document["problems"][0]["path"] == path
    assert "the-token-itself" not in done.out + done.err


def test_identities_of_other_sites_are_apart(tmp_path: Path) -> None:
    from tongqu.app.wire import Wire

    here = {"type": "postgres", "host": "10.0.0.5"}
    project(tmp_path, here=here, there={**here, "via": [{"proxy": "http://p:1"}, {"agent": "plant2"}]},
            proxied={**here, "via": [{"proxy": "http://p:1"}]})  # fmt: skip
    ends = Wire(tmp_path, "", lambda id, **params: None).ends
    assert ends.end("here").identity == ends.end("proxied").identity == "postgresql://10.0.0.5:5432/"
    assert ends.end("there").identity == "postgresql://10.0.0.5:5432/ via agent:plant2"
    assert ends.end("there").lodging != ends.end("here").lodging
