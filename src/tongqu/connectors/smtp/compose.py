"""Makes a mail of some rows: recipients that are allowed, subject, text, and the rows attached."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape
from pathlib import Path

import pyarrow as pa

from tongqu.connectors.smtp.settings import ADDRESS, SmtpSettings
from tongqu.connectors.smtp.template import filled
from tongqu.core.errors import CastError, RefusedRowsError
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.output import Form, Output
from tongqu.kit.originals import shown
from tongqu.kit.remote.effect import Effects

_XLSX = ("application", "vnd.openxmlformats-officedocument.spreadsheetml.sheet")
_LONGEST_SUBJECT = 500


@dataclass(frozen=True)
class Mail:
    """A mail that is ready to be sent."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    """With CRLF line ends, all ASCII."""


def compose(settings: SmtpSettings, dataset: str, effects: Effects, at: datetime) -> Mail:
    """The mail for the rows of one call; its Message-ID is made of the call's idempotency key. Raises RefusedRowsError
    for a recipient who may not get it, or an attachment that is too large."""
    values = _values(effects.rows, dataset)
    to, cc = _addresses(settings.to, values, settings), _addresses(settings.cc, values, settings)
    if not to and not cc:
        raise RefusedRowsError("the mail has no recipient")
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.origin
    if to:
        message["To"] = ", ".join(to)
    if cc:
        message["Cc"] = ", ".join(cc)
    message["Subject"] = " ".join(filled(settings.subject, values).split())[:_LONGEST_SUBJECT]
    message["Date"] = format_datetime(at)
    message["Message-ID"] = message_id(effects.id, settings.origin)
    message["Auto-Submitted"] = "auto-generated"
    rows = effects.rows.drop_columns([name for name in settings.leave_out if name in effects.rows.column_names])
    message.set_content(filled(settings.text, values) or "", cte="base64")
    if settings.html:
        escaped = {name: escape(value) for name, value in values.items()}
        table = _table(rows, settings.table_rows)
        message.add_alternative(filled(settings.html, {**escaped, "table": table}), subtype="html", cte="base64")
    if settings.attach != "none":
        _attach(message, settings, rows, filled(settings.attachment, values))
    return Mail(settings.origin, tuple(dict.fromkeys((*to, *cc))), message.as_bytes())


def message_id(id: str, sender: str) -> str:
    """The Message-ID of the call with this idempotency key: the same whenever it is made again."""
    return f"<{id}.tongqu@{sender.rpartition('@')[2]}>"


def _values(rows: pa.Table, dataset: str) -> dict[str, str]:
    first = {name: shown(rows.column(name).slice(0, 1))[0] or "" for name in rows.column_names}
    return {**first, "rows": str(rows.num_rows), "dataset": dataset}


def _addresses(templates: Sequence[str], values: Mapping[str, str], settings: SmtpSettings) -> list[str]:
    found: list[str] = []
    for template in templates:
        for address in filled(template, values).split(","):
            one = address.strip()
            if not one:
                continue
            if not ADDRESS.fullmatch(one) or not one.isascii():
                raise RefusedRowsError(f"{one!r} is no mail address")
            if not allowed(one, settings.rules):
                raise RefusedRowsError(f"{one} is not among the recipients that the connection allows")
            found.append(one)
    return found


def allowed(address: str, rules: Sequence[str]) -> bool:
    """Whether a rule of `allow` lets this address have mail; letters' case does not count."""
    name, _, domain = address.lower().rpartition("@")
    for rule in rules:
        own, _, place = rule.lower().rpartition("@")
        inside = domain.endswith(place[1:]) if place.startswith("*.") else domain == place
        if inside and (own in ("*", name)):
            return True
    return False


def _table(rows: pa.Table, most: int) -> str:
    columns = [shown(rows.column(name).slice(0, most)) for name in rows.column_names]
    head = "".join(f"<th>{escape(name)}</th>" for name in rows.column_names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(value or '')}</td>" for value in row) + "</tr>"
        for row in zip(*columns, strict=True)
    )
    more = f"<p>… +{rows.num_rows - most}</p>" if rows.num_rows > most else ""
    return f'<table border="1" cellspacing="0"><tr>{head}</tr>{body}</table>{more}'


def _attach(message: EmailMessage, settings: SmtpSettings, rows: pa.Table, name: str) -> None:
    form = Form("xlsx", sheet="rows") if settings.attach == "xlsx" else Form("csv", dialect=Dialect())
    with tempfile.TemporaryDirectory(prefix="tongqu-mail-") as folder:
        path = Path(folder) / f"rows{form.extension}"
        output = Output(path, form, rows.schema)
        try:
            refused = output.write(rows)
        finally:
            output.close()
        if refused:
            raise CastError(f"a row cannot be written as {form.format}: {refused[0].message}", field=refused[0].field)
        data = path.read_bytes()
    if settings.attach == "csv":
        data = b"\xef\xbb\xbf" + data
    if len(data) > settings.most_mb << 20:
        raise RefusedRowsError(f"the attachment would have {len(data) >> 20} MB; {settings.most_mb} are allowed")
    maintype, subtype = _XLSX if settings.attach == "xlsx" else ("text", "csv")
    safe = "".join("_" if ord(c) < 32 or c in '\\/:*?"<>|' else c for c in name)[:120] or "rows"
    message.add_attachment(data, maintype=maintype, subtype=subtype, filename=f"{safe}{form.extension}")
