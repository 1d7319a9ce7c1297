"""Starts private vsftpd servers (FTP, and FTPS with a certificate of their own)."""

from __future__ import annotations

import ftplib
import getpass
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tongqu.testing.services.install import program
from tongqu.testing.services.process import HOST, new_folder, run
from tongqu.testing.services.service import Service

_PACKAGE = "vsftpd"
_OPTIONS = (
    "listen=YES", "listen_ipv6=NO", f"listen_address={HOST}", f"pasv_address={HOST}", "background=NO",
    "run_as_launching_user=YES", "local_enable=NO", "anonymous_enable=YES", "write_enable=YES",
    "anon_upload_enable=YES", "anon_mkdir_write_enable=YES", "anon_other_write_enable=YES", "anon_umask=022",
    "anon_world_readable_only=NO", "secure_email_list_enable=YES", "use_localtime=NO", "seccomp_sandbox=NO",
    "max_per_ip=0", "max_clients=0", "connect_from_port_20=NO", "isolate=NO", "isolate_network=NO",
    "ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_data_ssl=NO", "force_anon_logins_ssl=NO",
    "require_ssl_reuse=YES", "ssl_ciphers=HIGH",
)  # fmt: skip


class Vsftpd(Service):
    """vsftpd where the user `ftp` logs in with the server's password. A "database" is a folder below `files`.

    Plain FTP and FTPS (by AUTH TLS, certificate in `ca_file`, which names `127.0.0.1`) are both on.
    """

    name: ClassVar[str] = "vsftpd"
    _home: ClassVar[str] = "home"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, None)
        self.files = folder / "files"
        self.ca_file = folder / "certificate.pem"

    def folder_of(self, database: str) -> Path:
        """The folder that a URL of `database` shows."""
        return self.files / database

    def url_of(self, database: str) -> str:
        return f"ftp://ftp:{self._password}@{self.host}:{self.port}{quote(str(self.folder_of(database)))}"

    def drop(self, database: str) -> None:
        """Removes the folder; harmless if there is none of that name. A URL's whole path names it as well."""
        shutil.rmtree(self.files / Path(database).name, ignore_errors=True)

    def write_files(self) -> None:
        """Makes the certificate and the configuration."""
        openssl = program("openssl", "openssl")
        subject = ["-subj", "/CN=tongqu test", "-addext", f"subjectAltName=IP:{HOST}", "-days", "30"]
        key = self._folder / "key.pem"
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run([openssl, *new, "-keyout", key, "-out", self.ca_file, *subject], None, self._folder)
        (self._folder / "passwords").write_text(self._password + "\n")
        (self._folder / "empty").mkdir()
        lines = [
            *_OPTIONS,
            f"ftp_username={getpass.getuser()}",
            f"anon_root={self._folder}",
            f"email_password_file={self._folder / 'passwords'}",
            f"secure_chroot_dir={self._folder / 'empty'}",
            f"rsa_cert_file={self.ca_file}",
            f"rsa_private_key_file={key}",
        ]
        (self._folder / "vsftpd.conf").write_text("\n".join(lines) + "\n")
        self.folder_of(self._home).mkdir(parents=True)

    def _command(self, port: int) -> Sequence[str | Path]:
        return [program("vsftpd", _PACKAGE), self._folder / "vsftpd.conf", f"-olisten_port={port}"]

    def _create(self, database: str) -> None:
        self.folder_of(database).mkdir(parents=True)

    def _probe(self) -> str:
        with ftplib.FTP(timeout=5) as ftp:  # noqa: S321  # the server under test, on loopback
            greeting = ftp.connect(self.host, self.port)
            ftp.login("ftp", self._password)
        return greeting.split("vsFTPd", 1)[-1].strip(" )")

    def _not_ready(self) -> type[Exception]:
        return Exception


def start_vsftpd() -> Vsftpd:
    """Starts vsftpd; returns when a login works.

    ServiceMissingError when it is not installed, ServiceError when it does not answer within 60 seconds.
    """
    program("vsftpd", _PACKAGE)
    server = Vsftpd(new_folder("tongqu-vsftpd-", None))
    server.write_files()
    return server._start()
