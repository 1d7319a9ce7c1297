"""The example with mail: workbooks come in as attachments, and every line is told by mail what failed on it."""

from __future__ import annotations

import io
import secrets
import shutil
import ssl
from pathlib import Path
from typing import Any

import openpyxl

from tongqu.testing.command_line import inside
from tongqu.testing.letters import letter
from tongqu.testing.services import Dovecot
from tongqu.testing.services.mail_catcher import MailCatcher

EXAMPLE = Path(__file__).parents[2] / "examples" / "mail"


def workbook(*rows: tuple[Any, ...]) -> bytes:
    book = openpyxl.Workbook()
    for row in (("lot_no", "line", "email", "result"), *rows):
        book.worksheets[0].append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def test_the_example_runs(tmp_path: Path, dovecot: Dovecot) -> None:
    folder = tmp_path / "mail"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".tongqu"))
    user, tls = f"u{secrets.token_hex(4)}", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(dovecot.certificate)
    told_not = ("L3", "B", "b@elsewhere.org", "NG")
    rows = (("L1", "A", "a@example.com", "NG"), ("L2", "B", "b@example.com", "OK"), told_not)
    dovecot.put(user, letter("results of week 1", week_xlsx=workbook(*rows)), letter("lunch", menu_xlsx=workbook()))
    with MailCatcher(user=user, password=dovecot.password, starttls=tls) as catcher:
        environ = {
            "IMAP_URL": f"imap://127.0.0.1:{dovecot.port}", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(catcher.port),
            "MAIL_USER": user, "MAIL_PASSWORD": dovecot.password, "MAIL_CA": str(dovecot.ca_file),
        }  # fmt: skip
        checked = inside(folder, "check", "--json", **environ)
        assert checked.code == 0, checked.err
        received = inside(folder, "run", "received", "--json", **environ)
        assert received.code == 0, received.err
        told = inside(folder, "run", "told", "--json", **environ)
        assert told.code == 3, "one recipient is not allowed"
        again = inside(folder, "run", "received", "--json", **environ)
        assert again.code == 0, again.err
    ((recipients, mail),) = catcher.mails
    assert recipients == ("a@example.com",)
    assert mail["Subject"] == "A: 1 lots failed / 1 批不合格"
    (bad,) = inside(folder, "quarantine", "list", "report", "--json", **environ).document["rows"]
    assert "b@elsewhere.org is not among the recipients" in bad["message"]
    left = dovecot.client(user)
    assert left.select("INBOX", readonly=True)[1] == [b"1"]
    left.logout()
