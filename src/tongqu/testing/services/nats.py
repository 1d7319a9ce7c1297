"""Starts private NATS servers with JetStream, and asks them through NATS's own Python client."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tongqu.testing.services.install import program
from tongqu.testing.services.process import new_folder
from tongqu.testing.services.service import Service

if TYPE_CHECKING:
    from tongqu.testing.services.certificates import Authority

T = TypeVar("T")


class Nats(Service):
    """NATS with a login. A "database" is a prefix that all names of streams begin with."""

    name: ClassVar[str] = "NATS"
    _home: ClassVar[str] = ""
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    authority: Authority | None = None
    """Whose certificate the server has; None: it speaks without TLS."""
    nkey = ""
    """The public key of a user who may log in by it, besides the one with a password."""

    def url_of(self, database: str) -> str:
        return f"nats://tongqu:{self._password}@{self.host}:{self.port}/{database}"

    def database(self, name: str | None = None) -> str:
        """The URL of a prefix that nobody has used (a random one if None)."""
        return self.url_of(name or f"t{secrets.token_hex(6)}_")

    def drop(self, database: str) -> None:
        """Deletes the streams of a prefix."""

        async def work(jetstream: Any) -> None:
            for info in await jetstream.streams_info():
                if database and info.config.name.startswith(database):
                    await jetstream.delete_stream(info.config.name)

        self.run(work)

    def stream(self, name: str, *subjects: str, **config: Any) -> None:
        """Makes a stream."""
        self.run(lambda jetstream: jetstream.add_stream(name=name, subjects=list(subjects) or [name], **config))

    def put(self, subject: str, *values: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Writes messages, stored when this returns."""

        async def work(jetstream: Any) -> None:
            for value in values:
                await jetstream.publish(subject, value, headers=dict(headers) if headers else None, timeout=30)

        self.run(work)

    def purge(self, stream: str, keep: int = 0) -> None:
        """Deletes messages of a stream but the newest so many."""
        self.run(lambda jetstream: jetstream.purge_stream(stream, keep=keep or None))

    def held(self, stream: str) -> list[tuple[str, bytes, dict[str, str]]]:
        """Subject, body and headers of every message of a stream."""

        async def work(jetstream: Any) -> list[tuple[str, bytes, dict[str, str]]]:
            state = (await jetstream.stream_info(stream)).state
            found = [await jetstream.get_msg(stream, seq) for seq in range(state.first_seq, state.last_seq + 1)]
            return [(one.subject, one.data or b"", dict(one.headers or {})) for one in found]

        return self.run(work)

    def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """What some work with the client's JetStream gives."""

        async def connected() -> T:
            import nats

            client = await nats.connect(
                f"nats://{self.host}:{self.port}", user="tongqu", password=self._password, allow_reconnect=False,
                connect_timeout=10, **self._tls(),
            )  # fmt: skip
            try:
                return await work(client.jetstream(timeout=30))
            finally:
                await client.close()

        return asyncio.run(connected())

    def _create(self, database: str) -> None:
        """Nothing: a stream is there when it is made."""

    def _tls(self) -> dict[str, Any]:
        if self.authority is None:
            return {}
        return {"tls": ssl.create_default_context(cafile=self.authority.ca_file), "tls_hostname": "localhost"}

    def _command(self, port: int) -> Sequence[str | Path]:
        users = [f"{{user: tongqu, password: {json.dumps(self._password)}}}"]
        users += [f"{{nkey: {self.nkey}}}"] if self.nkey else []
        text = f"authorization: {{users: [{', '.join(users)}]}}\n"
        if self.authority is not None:
            both = json.dumps(str(self.authority.issue("localhost")))
            text += f"tls: {{cert_file: {both}, key_file: {both}}}\n"
        config = self._folder / "nats.conf"
        config.write_text(text)
        config.chmod(0o600)
        return [
            program("nats-server", "nats-server"), "-a", self.host, "-p", str(port), "-js", "-sd",
            self._folder / "data", "-c", config,
        ]  # fmt: skip

    def _probe(self) -> str:
        async def work(jetstream: Any) -> None:
            await jetstream.account_info()

        try:
            self.run(work)
        except Exception as error:  # the client raises errors of four families while the server starts
            raise _NotUpError(str(error)) from error
        return "with JetStream"

    def _not_ready(self) -> type[Exception]:
        return _NotUpError


class _NotUpError(Exception):
    """It does not answer yet."""


def start_nats(authority: Authority | None = None, nkey: str = "") -> Nats:
    """Starts NATS; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    program("nats-server", "nats-server")
    made = Nats(new_folder("tongqu-nats-", None), None)
    made.authority, made.nkey = authority, nkey
    return made._start()
