"""A vendor's attendance system with SOAP that nobody has seen before: `python attendance.py 8442`, described by
attendance.wsdl, which imports types.xsd. Login by WS-Security (hr / example); everything is in memory."""

from __future__ import annotations

import datetime as dt
import sys
import xml.etree.ElementTree as ET
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
M = "{http://kaoqin.example/service}"
T = "{http://kaoqin.example/types}"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
CHINA = dt.timezone(dt.timedelta(hours=8))
BEGIN = dt.datetime(2026, 9, 1, 8, tzinfo=CHINA)
PLAIN = ("RecordNo", "EmployeeNo", "WorkDate", "Hours", "Status")


def day(number: int) -> dict[str, Any]:
    """What a person did on a day."""
    at = BEGIN + dt.timedelta(days=number // 32)
    punches = [at + dt.timedelta(minutes=minutes) for minutes in ((3, 545) if number % 5 else (3,))]
    return {
        "RecordNo": f"KQ{number:05d}", "EmployeeNo": f"E{number % 32:03d}", "WorkDate": at.date().isoformat(),
        "Hours": f"{7 + number % 9 * 0.25:.2f}", "Status": "正常" if number % 7 else "迟到",
        "Punches": [(one.isoformat(), "门1") for one in punches],
        "ChangedAt": (at + dt.timedelta(hours=10, seconds=number)).isoformat(),
        "Remark": None if number % 4 else "加班 <2h & 调休",
    }  # fmt: skip


DAYS = {one["RecordNo"]: one for one in map(day, range(320))}


def shown(one: dict[str, Any], tag: str = "t:DayRecord") -> str:
    """A day as XML."""
    punches = "".join(f"<t:Punch><t:At>{at}</t:At><t:Device>{name}</t:Device></t:Punch>" for at, name in one["Punches"])
    parts = [f"<t:{name}>{escape(one[name])}</t:{name}>" for name in PLAIN]
    parts += [f"<t:Punches>{punches}</t:Punches><t:ChangedAt>{one['ChangedAt']}</t:ChangedAt>"]
    parts += [
        '<t:Remark xsi:nil="true"/>' if one["Remark"] is None else f"<t:Remark>{escape(one['Remark'])}</t:Remark>"
    ]
    return f"<{tag}>{''.join(parts)}</{tag}>"


def fault(text: str, code: str = "soap:Client") -> tuple[int, str]:
    """A refusal."""
    detail = f"<m:Fault><t:ErrorCode>1</t:ErrorCode><t:ErrorText>{escape(text)}</t:ErrorText></m:Fault>"
    detail = f"<detail>{detail}</detail>" if code == "soap:Client" else ""
    return (
        500,
        f"<soap:Fault><faultcode>{code}</faultcode><faultstring>{escape(text)}</faultstring>{detail}</soap:Fault>",
    )


def query(call: ET.Element) -> tuple[int, str]:
    """A page of days."""
    days = [DAYS[no] for no in sorted(DAYS)]
    if since := call.findtext(f"{M}ChangedSince"):
        begin = dt.datetime.fromisoformat(since)
        days = [one for one in days if dt.datetime.fromisoformat(one["ChangedAt"]) >= begin]
    page, size = (int(call.findtext(f"{M}{name}") or usual) for name, usual in (("PageNo", 1), ("PageSize", 50)))
    held = "".join(map(shown, days[(page - 1) * size : page * size]))
    return 200, f"<m:Total>{len(days)}</m:Total><m:Records>{held}</m:Records>"


def get(call: ET.Element) -> tuple[int, str]:
    """One day; nothing if there is none."""
    one = DAYS.get(call.findtext(f"{M}RecordNo") or "")
    return 200, shown(one, "m:Record") if one else ""


def save(call: ET.Element) -> tuple[int, str]:
    """A new or changed day, a fault, or a code that is not 0."""
    told = call.find(f"{M}Record")
    if told is None or told.findtext(f"{T}Status") not in ("正常", "迟到", "缺卡"):
        return fault("状态无效")
    if float(told.findtext(f"{T}Hours") or 0) > 24:
        return 200, "<m:Code>17</m:Code><m:Message>工时超过 24 小时</m:Message>"
    punches = [(one.findtext(f"{T}At"), one.findtext(f"{T}Device") or "") for one in told.iter(f"{T}Punch")]
    made: dict[str, Any] = {name: told.findtext(f"{T}{name}") for name in (*PLAIN, "Remark")}
    DAYS[made["RecordNo"]] = {**made, "Punches": punches, "ChangedAt": dt.datetime.now(CHINA).isoformat()}
    return 200, "<m:Code>0</m:Code>"


class Vendor(BaseHTTPRequestHandler):
    """Answers as attendance.wsdl says."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        names = {"/ws/attendance?wsdl": "attendance.wsdl", "/ws/types.xsd": "types.xsd"}
        if self.path not in names:
            self.answer(404, "")
            return
        text = (Path(__file__).parent / names[self.path]).read_text(encoding="utf-8")
        self.answer(200, text.replace("127.0.0.1:8442", self.headers["Host"]))

    def do_POST(self) -> None:
        sent = ET.fromstring(self.rfile.read(int(self.headers["Content-Length"])))  # noqa: S314  # an example's own caller
        login = [sent.findtext(f".//{{{WSSE}}}{name}") for name in ("Username", "Password")]
        body = sent.find(f"{{{SOAP}}}Body")
        name = body[0].tag.removeprefix(M) if body is not None and len(body) else ""
        calls = {"QueryDayRecords": query, "GetDayRecord": get, "SaveDayRecord": save}
        if login != ["hr", "example"]:
            status, said = fault("用户名或密码错误", "wsse:FailedAuthentication")
        elif body is None or name not in calls:
            status, said = fault("没有这个操作")
        else:
            status, said = calls[name](body[0])
        said = f"<m:{name}Response>{said}</m:{name}Response>" if status == 200 else said
        names = f'xmlns:soap="{SOAP}" xmlns:wsse="{WSSE}" xmlns:m="{M[1:-1]}" xmlns:t="{T[1:-1]}"'
        names += ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        self.answer(status, f"<soap:Envelope {names}><soap:Body>{said}</soap:Body></soap:Envelope>")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Vendor)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
