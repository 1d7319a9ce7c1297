"""A hub and agents that dial out to it: tokens, the agent's own list, coming back, and the failing hop's name."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tongqu.core.errors import AuthError, ConnectError, EgressRefusedError
from tongqu.kit.egress.access import Access
from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.hub import Hub
from tongqu.kit.egress.outpost import Outpost, Post
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.policy import Policy
from tongqu.kit.egress.tokens import Role, Tokens
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.forward_proxies import ForwardProxy
from tongqu.testing.services.process import free_port
from tongqu.testing.ways import spoken, through

HERE = Policy(own=frozenset)
"""Hub and agent are one process here, whose own port the agent must dial."""


class Running:
    """A hub in a thread, what it told, and agents beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.told: list[str] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.hub = self._made()
        self._agents: list[tuple[threading.Event, threading.Thread]] = []

    def _made(self, port: int = 0) -> Hub:
        async def begin() -> Hub:
            hub = Hub(self.home, lambda word, name: self.told.append(f"{word} {name}"))
            await hub.start("127.0.0.1", port)
            return hub

        made: Hub = self.inside(begin())
        return made

    def inside(self, work: Any) -> Any:
        """The result of a coroutine in the hub's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def restart(self) -> None:
        """The hub ends and begins again on the same port."""
        port = self.hub.port
        self.inside(self.hub.close())
        self.hub = self._made(port)

    def post(self, name: str, *allow: tuple[str, int]) -> Post:
        """What an agent with a good token needs."""
        hub = Place("127.0.0.1", self.hub.port)
        token = self.hub.tokens.add(name, Role.AGENT)
        return Post(hub, self.hub.fingerprint, name, token, [Place.of(*place) for place in allow])

    def send(self, post: Post, out: Egress | None = None) -> list[str]:
        """Run an agent beside; returns what it tells."""
        stop, told = threading.Event(), list[str]()
        agent = Outpost(post, out or Egress(policy=HERE), stop, lambda word, about: told.append(f"{word} {about}"))
        thread = threading.Thread(target=agent.run, daemon=True)
        thread.start()
        self._agents.append((stop, thread))
        until(lambda: post.name in self.hub.agents)
        return told

    def hop(self, name: str, **more: str) -> dict[str, Any]:
        """The settings of an agent's hop."""
        access = Access.read(self.home)
        assert access is not None
        own = {"hub": access.listen, "token": access.token, "fingerprint": access.fingerprint}
        return {"agent": name} | own | more

    def close(self) -> None:
        """End all of it."""
        for stop, _ in self._agents:
            stop.set()
        for _, thread in self._agents:
            thread.join(5)
        self.inside(self.hub.close())
        self.inside(_last_rounds())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


async def _last_rounds() -> None:
    """What still runs in this loop ends, and its transports close their sockets."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)


def until(true: Callable[[], bool]) -> None:
    """Wait until it is true; fails after ten seconds."""
    event, deadline = threading.Event(), time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        event.wait(0.02)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A running hub."""
    monkeypatch.setattr("tongqu.kit.egress.outpost._SHORTEST_SECONDS", 0.1)
    running = Running(tmp_path)
    yield running
    running.close()


def test_a_connection_goes_through_the_agent(site: Running, echo: int) -> None:
    site.send(site.post("plant2", ("localhost", echo)))
    way = through(site.hop("plant2"))
    assert spoken(way.connect("localhost", echo), b"x" * 500_000) == b"hello " + b"x" * 500_000
    assert list(way.stages("LOCALHOST.", echo)) == ["hop 1 agent:plant2", "tcp"]


def test_an_agent_that_is_not_there_is_named(site: Running, echo: int) -> None:
    with ForwardProxy() as proxy:
        way = through({"proxy": proxy.url}, site.hop("plant2"))
        stages = way.stages("localhost", echo)
        assert next(stages) == "hop 1 proxy:127.0.0.1"
        for attempt in (lambda: next(stages), lambda: way.connect("localhost", echo)):
            with pytest.raises(ConnectError) as failed:
                attempt()
            assert failed.value.message == "hop 2 agent:plant2 is not connected"
            assert "tongqu agent run --name plant2" in failed.value.hint


def test_the_agents_own_list_is_law(site: Running, echo: int) -> None:
    closed = free_port()
    site.send(site.post("plant2", ("localhost", echo), ("127.0.0.1", closed), ("metadata.goog", 80)))
    way = through(site.hop("plant2"))
    for host, port in (("127.0.0.1", echo), ("localhost", 22)):
        with pytest.raises(ConnectError, match="the agent does not allow this place"):
            way.connect(host, port)
    with pytest.raises(ConnectError, match=r"gives no connection to 127.0.0.1:\d+: tcp: .* connection refused"):
        way.connect("127.0.0.1", closed)
    with pytest.raises(EgressRefusedError):
        way.connect("metadata.goog", 80)
    site.hub.agents["plant2"].offers.add(("localhost", 22))  # a hub that lies learns nothing
    with pytest.raises(ConnectError, match="no such listener"):
        way.connect("localhost", 22)


def test_wrong_tokens_are_refused(site: Running, echo: int) -> None:
    post = site.post("plant2", ("localhost", echo))
    for wrong in (replace(post, token="s3cret"), replace(post, name="plant3")):
        with pytest.raises(AuthError, match="name and token were refused") as refused:
            Outpost(wrong, Egress(policy=HERE), threading.Event(), lambda word, about: None).run()
        assert "s3cret" not in f"{refused.value} {refused.value.hint}"
    with pytest.raises(AuthError, match="hop 1 agent:plant2: the hub refused the token"):
        through(site.hop("plant2", token=post.token)).connect("localhost", echo)
    assert site.told == ["refused agent.plant2", "refused agent.plant3", "refused use.plant2"]


def test_a_hub_with_another_key_is_told_no_token(site: Running, echo: int) -> None:
    other = replace(site.post("plant2", ("localhost", echo)), fingerprint=f"SHA256:{'A' * 43}")
    with pytest.raises(AuthError, match="its key is not the one that was pinned"):
        Outpost(other, Egress(policy=HERE), threading.Event(), lambda word, about: None).run()
    assert site.told == []


def test_tokens_for_use_and_their_end(site: Running, echo: int) -> None:
    site.send(site.post("plant2", ("localhost", echo)))
    token = site.hub.tokens.add("headquarters", Role.USE)
    assert spoken(through(site.hop("plant2", token=token)).connect("localhost", echo)) == b"hello there"
    site.hub.tokens.remove("headquarters")
    assert not site.hub.lets_in("use.plant2", token)


def test_an_agent_comes_back(site: Running, echo: int) -> None:
    told = site.send(site.post("plant2", ("localhost", echo)))
    site.restart()
    until(lambda: told.count(f"connected 127.0.0.1:{site.hub.port}") == 2)
    assert told[1].startswith("lost ")
    until(lambda: "plant2" in site.hub.agents)
    assert spoken(through(site.hop("plant2")).connect("localhost", echo)) == b"hello there"


def test_the_newer_line_of_an_agent_counts(site: Running, echo: int) -> None:
    post = site.post("plant2", ("localhost", echo))
    told = site.send(post)
    first = site.hub.agents["plant2"]
    site.send(post)
    until(lambda: site.hub.agents.get("plant2", first) is not first)
    until(lambda: len(told) > 1)
    assert told[1].startswith("lost ")


def test_an_agent_goes_out_through_its_sites_proxy(site: Running, echo: int) -> None:
    with ForwardProxy() as proxy:
        out = through({"proxy": proxy.url})
        out.policy = HERE
        site.send(site.post("plant2", ("localhost", echo)), out)
        assert proxy.asked == [f"127.0.0.1:{site.hub.port}"]
        assert spoken(through(site.hop("plant2")).connect("localhost", echo)) == b"hello there"


def test_an_agent_inside_tls(site: Running, echo: int, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls")
    site.inside(site.hub.start_tls("127.0.0.1", 0, authority.server()))
    post = site.post("plant2", ("localhost", echo))
    unknown = replace(post, hub=Place("127.0.0.1", site.hub.tls_port), tls=ssl.create_default_context())
    told: list[str] = []
    stop = threading.Event()

    def tell(word: str, about: str) -> None:
        told.append(f"{word} {about}")
        stop.set()

    Outpost(unknown, Egress(policy=HERE), stop, tell).run()
    assert "its certificate is not accepted" in told[0]
    site.send(replace(unknown, tls=ssl.create_default_context(cafile=str(authority.ca_file))))
    opened = through(site.hop("plant2")).connect("localhost", echo)
    assert spoken(opened, b"x" * 300_000) == b"hello " + b"x" * 300_000


def test_files_are_private_and_hold_no_token(site: Running) -> None:
    post = site.post("plant2", ("localhost", 1))
    files = {path.name: path for path in site.home.iterdir()}
    assert set(files) == {"hub.key", "hub-tokens.json", "hub.json"}
    assert {oct(path.stat().st_mode & 0o777) for path in files.values()} == {"0o600"}
    assert post.token not in files["hub-tokens.json"].read_text()
    assert json.loads(files["hub-tokens.json"].read_text())["plant2"]["role"] == "agent"
    assert Tokens(files["hub-tokens.json"]).is_agent("plant2", post.token)
    site.inside(site.hub.close())
    assert Access.read(site.home) is None
