"""IMAP: the messages of a mailbox as rows; their attachments are files (`imaps://host/INBOX/*.xlsx`)."""

from __future__ import annotations

from tongqu.connectors.imap.settings import ImapSettings, claims, from_url
from tongqu.core.connector import Can, Connector, Source


def _source(settings: ImapSettings) -> Source:
    from tongqu.connectors.imap.source import ImapSource

    return ImapSource(settings)


connector = Connector(
    name="imap",
    title={"zh": "邮箱 (IMAP)", "en": "Mailbox (IMAP)"},
    settings=ImapSettings,
    can=Can.READ | Can.RESUME | Can.INCREMENTAL | Can.TRACKS,
    schemes=("imap", "imaps"),
    claims=claims,
    from_url=from_url,
    source=_source,
    label="real",
    guarantee={
        "zh": "只读; 在任意一批之后可续传; 增量按 UIDVALIDITY 与 UID 只读新邮件; 服务器重新编号即停, 不会漏读",
        "en": "read only; reads resume after any batch; incremental reads give what is new by UIDVALIDITY and UID, and "
        "stop if the server has numbered the mailbox anew",
    },
    systems=("Dovecot 2.3 (real)", "IMAP4rev1 servers (compatible)"),
)
