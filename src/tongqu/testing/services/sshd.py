"""Starts private OpenSSH servers: jump hosts and SFTP drops that let in the one key that was made for them."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tongqu.testing.services.install import program
from tongqu.testing.services.process import HOST, new_folder, run
from tongqu.testing.services.service import Service

_PACKAGE = "openssh-server"
_SEPARATION = Path("/run/sshd")
_OPTIONS = (
    "UsePAM no",
    "StrictModes no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PubkeyAuthentication yes",
    "PermitRootLogin prohibit-password",
    "AllowTcpForwarding yes",
    "Subsystem sftp internal-sftp",
    "PidFile none",
    "UseDNS no",
    "MaxStartups 100",
    "MaxSessions 100",
    "LogLevel VERBOSE",
)


class Sshd(Service):
    """An OpenSSH server where the user who runs the tests logs in with `key_file`; SFTP and TCP forwarding are on.

    A "database" is a fresh folder below `files`, and its URL begins with `sftp://`.
    """

    name: ClassVar[str] = "OpenSSH"
    _home: ClassVar[str] = "home"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, None)
        self.user = getpass.getuser()
        self.files = folder / "files"
        """What is served: the folders that `database` makes are in here."""
        self.key_file = folder / "client_key"
        """The private key that may log in (ed25519, no passphrase)."""
        self.log_file = folder / "server.log"

    @property
    def host_key(self) -> str:
        """The server's public key as `ssh-ed25519 AAAA…`."""
        return " ".join((self._folder / "host_key.pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint as `ssh-keygen -l` prints it: `SHA256:…`."""
        digest = hashlib.sha256(base64.b64decode(self.host_key.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file that names this server on its port."""
        path = self._folder / "known_hosts"
        path.write_text(f"[{self.host}]:{self.port} {self.host_key}\n")
        return path

    def folder_of(self, database: str) -> Path:
        """The folder that a URL of `database` shows."""
        return self.files / database

    def url_of(self, database: str) -> str:
        return f"sftp://{self.user}@{self.host}:{self.port}{quote(str(self.folder_of(database)))}"

    def drop(self, database: str) -> None:
        """Removes the folder; harmless if there is none of that name. A URL's whole path names it as well."""
        shutil.rmtree(self.files / Path(database).name, ignore_errors=True)

    def write_files(self) -> None:
        """Makes the keys and the configuration."""
        keygen = program("ssh-keygen", "openssh-client")
        for name in ("host_key", "client_key"):
            run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", self._folder / name], None, self._folder)
        shutil.copy(self._folder / "client_key.pub", self._folder / "authorized_keys")
        lines = [f"HostKey {self._folder / 'host_key'}", f"AuthorizedKeysFile {self._folder / 'authorized_keys'}"]
        (self._folder / "sshd_config").write_text("\n".join([f"ListenAddress {HOST}", *lines, *_OPTIONS]) + "\n")
        self.folder_of(self._home).mkdir(parents=True)
        if os.geteuid() == 0:
            _SEPARATION.mkdir(mode=0o755, exist_ok=True)

    def _command(self, port: int) -> Sequence[str | Path]:
        return [program("sshd", _PACKAGE), "-D", "-e", "-f", self._folder / "sshd_config", "-o", f"Port={port}"]

    def _create(self, database: str) -> None:
        self.folder_of(database).mkdir(parents=True)

    def _probe(self) -> str:
        with contextlib.closing(socket.create_connection((self.host, self.port), 5)) as probe:
            greeting = probe.recv(256).decode(errors="replace")
        if not greeting.startswith("SSH-2.0-"):
            raise OSError(f"no greeting: {greeting!r}")
        return greeting.split("_", 1)[-1].split()[0]

    def _not_ready(self) -> type[Exception]:
        return OSError


def start_sshd() -> Sshd:
    """Starts an OpenSSH server with keys of its own; returns when it greets.

    ServiceMissingError when it is not installed, ServiceError when it does not answer within 60 seconds.
    """
    program("sshd", _PACKAGE)
    server = Sshd(new_folder("tongqu-sshd-", None))
    server.write_files()
    return server._start()
