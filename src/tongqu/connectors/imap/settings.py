"""Settings of a mailbox that is read."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import model_validator

from tongqu.core.settings import titled
from tongqu.kit.files import COMPRESSIONS, FORMATS, is_glob
from tongqu.kit.mail.mailbox import PORTS
from tongqu.kit.mail.settings import MailFilter, MailServer, Security, from_parts, shown

SECURITIES: dict[str, Security] = {"imap": "starttls", "imaps": "tls"}
_DATA = {*FORMATS, *COMPRESSIONS, ".zip", ".tar", ".tgz", ".pgp", ".gpg", ".asc"}


class ImapSettings(MailServer):
    """An account's mailboxes: each is a dataset with a row for every message."""

    mailbox: str = titled("邮箱文件夹", "Mailbox", "")
    """The one mailbox that is read (`INBOX`, `Archive/2026`); left out: all of the account."""
    mail: MailFilter = titled("邮件筛选", "Mail filter", MailFilter())
    """Which messages are rows."""
    after: Literal["keep", "seen", "flag", "move", "delete"] = titled("读取后", "Afterwards", "keep")
    """What becomes of a message once its row is committed and visible (mode incremental only): it stays, is marked as
    `seen`, gets the star (`flag`), is moved into `archive`, or is deleted."""
    archive: str = titled("归档文件夹", "Archive", "")
    """The mailbox for `after: move`; it is made if it is missing."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if (self.after == "move") != bool(self.archive):
            raise ValueError("`after: move` and `archive` go together")
        return self

    def identity(self) -> str:
        """See Endpoint.identity."""
        port = self.port or PORTS[self.security]
        return f"imap://{self.user + '@' if self.user else ''}{self.host}:{port}/{self.mailbox}"

    def display(self) -> str:
        """See Endpoint.display."""
        return shown("imaps" if self.security == "tls" else "imap", self, PORTS[self.security], self.mailbox)


def from_url(url: str) -> ImapSettings:
    """Settings from `imaps://user@host/INBOX` (TLS) or `imap://…` (STARTTLS), settings as query parameters
    (`mail.since=30 d`). Raises InvalidSettingsError."""
    values = from_parts(url, SECURITIES)
    values["mailbox"] = values.pop("path", "")
    for key in [key for key in values if "." in key]:
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = values.pop(key)
    return ImapSettings.parse(values, "url")


def claims(url: str) -> bool:
    """Whether a URL means messages: one whose path ends as data files do, or has a wildcard, means attachments."""
    path = url.partition("?")[0].partition("://")[2].partition("/")[2]
    return not is_glob(path) and PurePosixPath(path).suffix.lower() not in _DATA
