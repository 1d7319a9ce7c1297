"""A vendor's quality system that nobody has seen before: `python qms.py 8441`, described by star-qms.json.

OAuth2 client credentials (plant / example), cursor pages, a filter by time of change, decimals as text, Chinese
choices, lists below lists, and one call that writes. Everything is in memory.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CHINA = dt.timezone(dt.timedelta(hours=8))
BEGIN = dt.datetime(2026, 1, 5, 8, tzinfo=CHINA)
TOKEN = "token-of-the-example"  # noqa: S105
ROOT = "/qms/v3"


def lot(number: int) -> dict[str, Any]:
    """An inspection lot."""
    at = BEGIN + dt.timedelta(minutes=11 * number)
    return {
        "lotNo": f"JY2026{number:05d}", "materialCode": f"M-{number % 37:03d}", "supplierName": "大连精工",
        "quantity": f"{100 + number}.000", "judgement": "合格" if number % 9 else "让步接收",
        "inspectedAt": at.isoformat(), "updatedAt": (at + dt.timedelta(minutes=5)).isoformat(),
        "inspector": {"empNo": f"E{number % 23:03d}", "name": "王敏"}, "remark": None if number % 3 else "复检",
    }  # fmt: skip


def result(number: int, item: int) -> dict[str, Any]:
    """A measured value of a lot."""
    return {
        "resultId": number * 10 + item, "itemName": ("外径", "硬度")[item], "measuredValue": f"10.{number:04d}",
        "upperLimit": "10.6000", "lowerLimit": "9.9000", "unit": ("mm", "HRC")[item], "judgement": "合格",
    }  # fmt: skip


LOTS = {one["lotNo"]: one for one in map(lot, range(1, 241))}
RESULTS = {no: [result(number, item) for item in (0, 1)] for number, no in enumerate(LOTS, 1)}
DEFECTS: dict[str, dict[str, Any]] = {}


class Refused(Exception):  # noqa: N818
    """A call that is answered with a status and the vendor's words."""


class Vendor(BaseHTTPRequestHandler):
    """Answers as star-qms.json says."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def answer(self, status: int, document: Any) -> None:
        content = json.dumps(document, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handled(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        try:
            if path == f"{ROOT}/api-docs":
                text = (Path(__file__).parent / "star-qms.json").read_text(encoding="utf-8")
                self.answer(200, json.loads(text.replace("127.0.0.1:8441", self.headers["Host"])))
            elif path == "/oauth/token":
                self.token(parse_qs(body.decode()))
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, 40101, "令牌无效或已过期")
            elif self.command == "POST":
                self.answer(201, {"code": 0, "msg": "ok", "data": created(path, body)})
            else:
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.answer(200, {"code": 0, "msg": "ok", "data": found(path.removeprefix(ROOT), query)})
        except Refused as refused:
            status, code, message = refused.args
            self.answer(status, {"code": code, "msg": message})

    def token(self, form: dict[str, list[str]]) -> None:
        header = self.headers.get("Authorization", "")
        told = ":".join(form.get(name, [""])[0] for name in ("client_id", "client_secret"))
        told = base64.b64decode(header[6:]).decode() if header.startswith("Basic ") else told
        if told != "plant:example":
            self.answer(401, {"error": "invalid_client"})
            return
        self.answer(200, {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 600})

    def do_GET(self) -> None:
        self.handled(b"")

    def do_POST(self) -> None:
        self.handled(self.rfile.read(int(self.headers.get("Content-Length", 0))))


def found(path: str, query: dict[str, str]) -> Any:
    """What is at a path: a page, or a record."""
    lists = {"/inspection-lots": (LOTS, "lotNo"), "/nonconformances": (DEFECTS, "ncNo")}
    if path in lists:
        records, key = lists[path]
        return page(sorted(records.values(), key=lambda one: str(one[key])), key, query)
    if below := re.fullmatch(r"/inspection-lots/([^/]+)/results", path):
        if below[1] not in RESULTS:
            raise Refused(404, 40401, "检验批不存在")
        return page(RESULTS[below[1]], "resultId", query)
    above, _, name = path.rpartition("/")
    if above in lists and name in lists[above][0]:
        return lists[above][0][name]
    raise Refused(404, 40400, "不存在")


def page(records: list[dict[str, Any]], key: str, query: dict[str, str]) -> dict[str, Any]:
    """One page of records, from the cursor on."""
    try:
        size = int(query.get("limit", "100"))
        since = dt.datetime.fromisoformat(query["updatedAfter"]) if "updatedAfter" in query else None
    except ValueError:
        raise Refused(400, 40001, "参数格式错误") from None
    if not 1 <= size <= 200:
        raise Refused(400, 40001, "limit 必须在 1 到 200 之间")
    if since is not None:
        records = [one for one in records if dt.datetime.fromisoformat(one["updatedAt"]) > since]
    if "cursor" in query:
        after = json.loads(base64.urlsafe_b64decode(query["cursor"]))
        records = [one for one in records if one[key] > after]
    shown, more = records[:size], len(records) > size
    cursor = base64.urlsafe_b64encode(json.dumps(shown[-1][key]).encode()).decode() if more else None
    return {"items": shown, "hasMore": more, "nextCursor": cursor}


def created(path: str, body: bytes) -> dict[str, Any]:
    """A new nonconformance, or a refusal."""
    if path != f"{ROOT}/nonconformances":
        raise Refused(404, 40400, "不存在")
    told = json.loads(body)
    for name in ("ncNo", "lotNo", "defectType", "defectQty", "severity"):
        if not isinstance(told.get(name), str):
            raise Refused(422, 42201, f"{name} 必填且为字符串")
    if told["lotNo"] not in LOTS:
        raise Refused(422, 42202, f"检验批 {told['lotNo']} 不存在")
    if told["severity"] not in ("轻微", "一般", "严重"):
        raise Refused(422, 42203, f"severity 取值错误: {told['severity']}")
    if told["ncNo"] in DEFECTS:
        raise Refused(409, 40901, "单号已存在")
    made = {**told, "status": "待处理", "updatedAt": dt.datetime.now(CHINA).isoformat()}
    DEFECTS[told["ncNo"]] = made
    return made


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Vendor)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
