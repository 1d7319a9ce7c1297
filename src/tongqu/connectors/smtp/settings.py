"""Settings of mails that are sent: the server, who may get them, and how rows become mails."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import model_validator

from tongqu.connectors.smtp.template import names_in
from tongqu.core.settings import Names, titled
from tongqu.kit.mail.settings import MailServer, Security, from_parts, shown
from tongqu.kit.remote.manner import Manner

SECURITIES: dict[str, Security] = {"smtp": "starttls", "smtps": "tls"}
PORTS: dict[Security, int] = {"tls": 465, "starttls": 587, "none": 25}
ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f@<>,;:\"()\[\]\\]+@[^\s\x00-\x1f\x7f@<>,;:\"()\[\]\\]+")
_SEVERAL = {"to", "cc", "allow", "per", "leave_out"}
_RULE = re.compile(r"(\*|[^\s@*]+)@(\*\.)?[^\s@*]+")


class SmtpSettings(MailServer):
    """A server that takes mail, and how rows become mails."""

    sender: str = titled("发件人", "From", "")
    """Address that the mails come from; left out: `user`, if that is an address."""
    to: Names = titled("收件人", "To", ())
    """Addresses, or `{column}` for an address in the rows (several separated by commas)."""
    cc: Names = titled("抄送", "Cc", ())
    """As `to`."""
    allow: Names = titled("允许的收件人", "Allowed recipients", ())
    """Who may get mail: addresses, `*@example.com` or `*@*.example.com`. A mail to anybody else is not sent, its rows
    are quarantined. Left out: only the addresses that stand in `to` and `cc`."""
    subject: str = titled("主题", "Subject", "{dataset}: {rows}")
    """`{column}` is the first row's value, `{rows}` their number, `{dataset}` the name of the target."""
    text: str = titled("正文", "Text", "")
    """Plain text of the mail, with the same places."""
    html: str = titled("HTML 正文", "HTML text", "")
    """HTML of the mail, with the same places, values escaped; `{table}` is a table of the first `table_rows` rows."""
    table_rows: int = titled("表格行数", "Rows of the table", 50, ge=1, le=1000)
    """Most rows that `{table}` shows."""
    per: Names = titled("每封邮件", "Mail per", ())
    """Columns: one mail for the rows of each of their values; `row`: one a row. Left out: one mail for all rows."""
    attach: Literal["xlsx", "csv", "none"] = titled("附件", "Attachment", "xlsx")
    """The mail's rows as a workbook or as CSV (UTF-8 with byte order mark)."""
    attachment: str = titled("附件名", "Attachment's name", "{dataset}")
    """Name of the attachment, without ending, with the same places as the subject."""
    leave_out: Names = titled("不附列", "Left out", ())
    """Columns that the attachment and the table do not show, such as the recipient's address."""
    most_mb: int = titled("附件上限(MB)", "Attachment, MB", 20, ge=1)
    """Largest attachment; a mail with a larger one is not sent, its rows are quarantined."""
    calls: Manner = titled("调用", "Calls", Manner())
    """How calls are made and repeated."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not ADDRESS.fullmatch(self.origin):
            raise ValueError("sender: name the address that the mails come from")
        for name in (*self.to, *self.cc):
            if not names_in(name) and not ADDRESS.fullmatch(name):
                raise ValueError(f"{name!r} is no address")
        for rule in self.allow:
            if not _RULE.fullmatch(rule):
                raise ValueError(f"allow: {rule!r} is neither an address nor *@domain")
        for text in self.texts:
            names_in(text)
        if self.calls.group or self.calls.whole_calls:
            raise ValueError("calls.group and calls.whole_calls: a mail cannot be taken back")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """All templates."""
        return (self.subject, self.text, self.html, self.attachment, *self.to, *self.cc)

    @property
    def rules(self) -> tuple[str, ...]:
        """Who may get mail: `allow`, or the addresses that `to` and `cc` name."""
        return self.allow or tuple(one for one in (*self.to, *self.cc) if not names_in(one))

    @property
    def origin(self) -> str:
        """The sender's address."""
        return self.sender or self.user

    @property
    def own_port(self) -> int:
        """The port to connect to."""
        return self.port or PORTS[self.security]

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"smtp://{self.user + '@' if self.user else ''}{self.host}:{self.own_port}"

    def display(self) -> str:
        """See Endpoint.display."""
        return shown("smtps" if self.security == "tls" else "smtp", self, PORTS[self.security])


def from_url(url: str) -> SmtpSettings:
    """Settings from `smtp://user@host?to=a@example.com` (STARTTLS) or `smtps://…` (TLS), settings as query parameters;
    `to`, `cc`, `allow`, `per` and `leave_out` hold commas. Raises InvalidSettingsError."""
    values = from_parts(url, SECURITIES)
    values.pop("path", None)
    for name in _SEVERAL & set(values):
        values[name] = [one.strip() for one in values[name].split(",") if one.strip()]
    return SmtpSettings.parse(values, "url")
