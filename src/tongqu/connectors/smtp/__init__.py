"""SMTP: sends rows as mails, each with a text and the rows attached."""

from __future__ import annotations

from tongqu.connectors.smtp.settings import SmtpSettings, from_url
from tongqu.core.connector import Can, Connector, Sink


def _sink(settings: SmtpSettings) -> Sink:
    from tongqu.connectors.smtp.sink import SmtpSink

    return SmtpSink(settings)


connector = Connector(
    name="smtp",
    title={"zh": "邮件发送 (SMTP)", "en": "Mail, sent (SMTP)"},
    settings=SmtpSettings,
    can=Can.WRITE | Can.APPEND,
    schemes=("smtp", "smtps"),
    from_url=from_url,
    sink=_sink,
    label="compatible",
    guarantee={
        "zh": "每封邮件至多一次: 账本记录每次发送, 结果未知的邮件进入隔离区, 不会自动重发; 邮件带固定的 Message-ID",
        "en": "each mail at most once: a ledger of every sending; mails of unknown outcome are quarantined and not "
        "repeated by themselves; each has a Message-ID of its own that a repetition keeps",
    },
    systems=("SMTP servers by RFC 5321 with TLS or STARTTLS (compatible: aiosmtpd)",),
)
