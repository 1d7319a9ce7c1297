"""Starts private Dovecot IMAP servers in a folder of their own; mailboxes are filled over the protocol."""

from __future__ import annotations

import getpass
import imaplib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tongqu.kit.mail.names import encoded
from tongqu.testing.services.install import program
from tongqu.testing.services.process import HOST, Account, account, give, new_folder
from tongqu.testing.services.service import Service

_PACKAGE = "dovecot-imapd"


class Dovecot(Service):
    """A Dovecot where every user of the one password has a mailbox of its own; with STARTTLS.

    A "database" is a user, and its URL is `imap://user:password@host:port`; `ca_file` is what to trust.
    """

    name: ClassVar[str] = "Dovecot"
    _home: ClassVar[str] = "home"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    @property
    def password(self) -> str:
        """The one password."""
        return self._password

    @property
    def ca_file(self) -> Path:
        """The authority whose certificate the server has."""
        return self._folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        """The server's certificate and key, for others that shall be trusted as well."""
        return self._folder / "server.pem"

    def url_of(self, database: str) -> str:
        return f"imap://{quote(database)}:{self._password}@{self.host}:{self.port}"

    def drop(self, database: str) -> None:
        """Nothing: mailboxes go with the server."""

    def client(self, user: str) -> imaplib.IMAP4:
        """A plain connection of that user, logged in."""
        made = imaplib.IMAP4(self.host, self.port, 10)
        made.login(user, self._password)
        return made

    def put(self, user: str, *messages: bytes, mailbox: str = "INBOX", at: float = 0) -> None:
        """Put messages into a mailbox, which is made if it is missing; `at` is when they were taken."""
        client, name = self.client(user), encoded(mailbox.replace("/", "."))
        try:
            if mailbox != "INBOX":
                client.create(name)
            for message in messages:
                kind, said = client.append(name, "", imaplib.Time2Internaldate(at or time.time()), message)
                assert kind == "OK", said  # the test's own server
        finally:
            client.logout()

    def write_files(self) -> None:
        """Makes certificate and configuration."""
        from tongqu.testing.services.certificates import Authority

        certificate = Authority(self._folder).issue("server")
        me = self._owner.name if self._owner else getpass.getuser()
        group = _group(self._owner)
        lines = [
            "protocols = imap",
            f"listen = {HOST}",
            f"base_dir = {self._folder / 'run'}",
            f"state_dir = {self._folder / 'state'}",
            "log_path = /dev/stderr",
            "ssl = yes",
            f"ssl_cert = <{certificate}",
            f"ssl_key = <{certificate}",
            "disable_plaintext_auth = no",
            "auth_mechanisms = plain login",
            f"default_internal_user = {me}",
            f"default_login_user = {me}",
            f"default_internal_group = {group}",
            "first_valid_uid = 1",
            f"mail_location = maildir:{self._folder / 'mail'}/%u",
            "passdb {\n  driver = static\n  args = password=" + self._password + "\n}",
            f"userdb {{\n  driver = static\n  args = uid={me} gid={group} home={self._folder}/mail/%u\n}}",
            "service anvil {\n  chroot =\n}",
            "service stats {\n  chroot =\n}",
            "service imap-login {\n  chroot =\n  inet_listener imap {\n    port = PORT\n  }\n"
            "  inet_listener imaps {\n    port = 0\n  }\n}",
        ]
        (self._folder / "template.conf").write_text("\n".join(lines) + "\n")
        (self._folder / "mail").mkdir()
        for path in (self._folder, *self._folder.iterdir()):
            give(path, self._owner)

    def _command(self, port: int) -> Sequence[str | Path]:
        path = self._folder / "dovecot.conf"
        path.write_text((self._folder / "template.conf").read_text().replace("PORT", str(port)))
        give(path, self._owner)
        return [program("dovecot", _PACKAGE), "-F", "-c", path]

    def _create(self, database: str) -> None:
        """Nothing: a mailbox is there when its user comes."""

    def _probe(self) -> str:
        client = imaplib.IMAP4(self.host, self.port, 5)
        try:
            client.login("probe", self._password)
        finally:
            client.logout()
        return "2"

    def _not_ready(self) -> type[Exception]:
        return Exception


def _group(owner: Account | None) -> str:
    import grp
    import os

    return grp.getgrgid(owner.gid if owner else os.getegid()).gr_name


def start_dovecot() -> Dovecot:
    """Starts Dovecot as a user without rights; returns when a login works.

    ServiceMissingError when it is not installed, ServiceError when it does not answer within 60 seconds.
    """
    program("dovecot", _PACKAGE)
    owner = account("nobody")
    server = Dovecot(new_folder("tongqu-dovecot-", owner), owner)
    server.write_files()
    return server._start()
