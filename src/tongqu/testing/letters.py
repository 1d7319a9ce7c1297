"""Mails as bytes, for tests."""

from __future__ import annotations

import secrets
from email.message import EmailMessage
from email.policy import SMTP


def letter(subject: str = "hello", sender: str = "Ann <ann@supplier.com>", **files: bytes) -> bytes:
    """A mail with attachments; of their names the last `_` is the dot."""
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, "me@example.com", subject
    message["Date"] = "Mon, 05 Jan 2026 08:00:00 +0800"
    message["Message-ID"] = f"<{secrets.token_hex(4)}@supplier.com>"
    message.set_content("see the attachment")
    for name, data in files.items():
        stem, _, ending = name.rpartition("_")
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=f"{stem}.{ending}")
    return message.as_bytes()
