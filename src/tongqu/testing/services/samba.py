"""Starts private Samba servers: one share on a random port."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tongqu.testing.services.errors import ServiceStartError
from tongqu.testing.services.install import program
from tongqu.testing.services.process import HOST, new_folder
from tongqu.testing.services.service import Service

_PACKAGE = "samba"
SHARE = "files"


class Samba(Service):
    """Samba where the user who runs the tests logs in with the server's password. A "database" is a folder in the
    share `files`."""

    name: ClassVar[str] = "Samba"
    _home: ClassVar[str] = "home"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, None)
        self.user = getpass.getuser()
        self.files = folder / "files"

    def folder_of(self, database: str) -> Path:
        """The folder that a URL of `database` shows."""
        return self.files / database

    def url_of(self, database: str) -> str:
        return f"smb://{self.user}:{self._password}@{self.host}:{self.port}/{SHARE}/{quote(database)}"

    def drop(self, database: str) -> None:
        """Removes the folder; harmless if there is none of that name. A URL's whole path names it as well."""
        shutil.rmtree(self.files / Path(database).name, ignore_errors=True)

    def write_files(self) -> None:
        """Makes the configuration and the login."""
        state = {name: self._folder / name for name in ("private", "lock", "state", "cache", "pid", "rpc")}
        for path in state.values():
            path.mkdir(mode=0o755)
        places = [
            f"private dir = {state['private']}", f"lock directory = {state['lock']}",
            f"state directory = {state['state']}", f"cache directory = {state['cache']}",
            f"pid directory = {state['pid']}", f"ncalrpc dir = {state['rpc']}",
            f"passdb backend = tdbsam:{state['private']}/passdb.tdb", f"log file = {self._folder}/smbd.log",
        ]  # fmt: skip
        lines = [
            "[global]", *places, "server role = standalone server", "disable netbios = yes", "load printers = no",
            "printcap name = /dev/null", "disable spoolss = yes", "interfaces = lo", "bind interfaces only = yes",
            "server min protocol = SMB3", "max log size = 1000",
            f"[{SHARE}]", f"path = {self.files}", "read only = no", f"valid users = {self.user}",
        ]  # fmt: skip
        self._configuration.write_text("\n".join(lines) + "\n")
        self.folder_of(self._home).mkdir(parents=True)
        done = subprocess.run(
            [program("smbpasswd", "samba-common-bin"), "-c", self._configuration, "-a", "-s", self.user],
            input=f"{self._password}\n" * 2,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceStartError(f"smbpasswd ended with {done.returncode}: {done.stderr[-500:]}")

    @property
    def _configuration(self) -> Path:
        return self._folder / "smb.conf"

    def _command(self, port: int) -> Sequence[str | Path]:
        smbd = program("smbd", _PACKAGE)
        options = [f"--option=smb ports = {port}", "--foreground", "--no-process-group", "--debug-stdout"]
        return [smbd, f"--configfile={self._configuration}", *options]

    def _create(self, database: str) -> None:
        self.folder_of(database).mkdir(parents=True)

    def _probe(self) -> str:
        with socket.create_connection((HOST, self.port), 5):
            told = subprocess.run([program("smbd", _PACKAGE), "-V"], capture_output=True, text=True, check=False)
        return told.stdout.split()[1]

    def _not_ready(self) -> type[Exception]:
        return OSError


def start_samba() -> Samba:
    """Starts Samba; returns when it accepts connections.

    ServiceMissingError when it is not installed, ServiceError when it does not answer within 60 seconds.
    """
    program("smbd", _PACKAGE)
    server = Samba(new_folder("tongqu-samba-", None))
    server.write_files()
    return server._start()
