"""Whatever is wrong in the sections of the gateway: `check` names its place, what is valid and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tongqu.testing.command_line import inside, make

HEAD = """project: p
connections:
  lake: {type: sqlite, path: lake.db}
datasets:
  orders: {key: id, fields: {id: {type: int64}}}
"""
LINE = 6
"""Where the text of a case begins."""
SOURCE = "source: {connection: lake, dataset: orders}"
HOOK = "url: 'https://x.example', as: erp, secret: '${secret:h}'"
OF_API = [
    ("", "source", "missing key 'source'", "缺少键 'source'"),
    (f"{SOURCE}, acces: 1", "acces", "did you mean 'access'?", "是不是 'access'？"),
    ("source: {connection: leak, dataset: a}", "source.connection", "did you mean 'lake'? valid: lake", "可用：lake"),
    ("source: {connection: lake, dataset: a, as: b}", "source.as", "valid: orders", "可用：orders"),
    ("source: {connection: lake}", "source", "one of them", "二选一"),
    (f"{SOURCE}, version: '1'", "version", "v1, v2", "v1、v2"),
    (f"{SOURCE}, fields: [ix]", "fields[0]", "valid: id, note", "可用：id, note"),
    (f"{SOURCE}, relations: {{r: {{api: y, on: {{a: b}}}}}}", "relations.r.api", "valid: x", "可用：x"),
    (f"{SOURCE}, relations: {{r: {{api: x, on: {{}}}}}}", "relations.r.on", "{line_id: line_id}", "对方字段"),
    (f"{SOURCE}, relations: {{r: {{api: x, on: {{nix: id}}}}}}", "relations.r.on", "valid: id, note", "可用：id, note"),
    (f"{SOURCE}, sunset: soon", "sunset", '"2027-06-30"', '"2027-06-30"'),
    (f"{SOURCE}, deprecated: '2027-02-01', sunset: '2027-01-01'", "sunset", "withdrawn later", "先弃用，后下线"),
    (f"{SOURCE}, successor: v2", "successor", "valid: v1", "可用：v1"),
    (f"{SOURCE}, access: {{fields: {{ix: {{}}}}}}", "access.fields", "fields: id, note", "字段：id, note"),
    (f"{SOURCE}, access: {{roles: [a], rows: 'ix = 1'}}", "access.rows", "columns: id, note", "列：id, note"),
    (f"{SOURCE}, access: {{rules: [{{effect: perhaps}}]}}", "access.rules[0].effect", "allow, deny", "可用：allow"),
    (
        f"{SOURCE}, access: {{fields: {{id: {{mask: {{with: nope}}}}}}}}",
        "access.fields.id.mask.with",
        "valid: bank_card",
        "可用：bank_card",
    ),
    (f"{SOURCE}, limit: {{per: fortnight}}", "limit.per", "valid: day", "可用：day"),
    (f"{SOURCE}, limit: {{requests: -1}}", "limit.requests", "must be at least 1, got -1", "设置有误"),
    (f"{SOURCE}, protocols: [rest, ftp]", "protocols[1]", "valid: graphql", "可用：graphql"),
    (f"{SOURCE}, shield: hard", "shield", "valid: observe", "可用：observe"),
    (f"{SOURCE}, live: {{cursor: nix}}", "live.cursor", "valid: id, note", "可用：id, note"),
    (f"{SOURCE}, write: {{gmp: true, ingest: true}}", "write", "exclude each other", "不能同时使用"),
    (
        "source: {connection: lake, query: SELECT 1}, write: {insert: true}",
        "write",
        "publish the table itself",
        "请以另一个名称发布",
    ),
    (f"{SOURCE}, webhooks: {{h: {{{HOOK}, events: [bang]}}}}", "webhooks.h.events[0]", "valid: delete", "可用：delete"),
    (
        f"{SOURCE}, webhooks: {{h: {{{HOOK.replace('https', 'ftp')}}}}}",
        "webhooks.h.url",
        "begins with https://",
        "地址以 https://",
    ),
]
OF_REST = [
    ("gateway: {limits: {adress: 1}}", "gateway.limits.adress", "did you mean 'address'?", "是不是 'address'？"),
    ("gateway: {trusted_proxies: [nowhere]}", "gateway.trusted_proxies", "is no network", "设置有误"),
    ("gateway: {cors: {origins: [example.com]}}", "gateway.cors", "https://portal.example", "请写全协议和主机"),
    ("gateway: {sizes: {body: 1}}", "gateway.sizes.body", "body_bytes", "未知的键 'body'"),
    ("identity: {profil: mlps}", "identity.profil", "did you mean 'profile'?", "是不是 'profile'？"),
    ("identity: {profile: high}", "identity.profile", "valid: asvs, mlps", "可用：asvs, mlps"),
    ("identity: {issuers: {kc: {audience: a}}}", "identity.issuers.kc.issuer", "an https address", "缺少键 'issuer'"),
    ("audit: {keep_days: 10}", "audit.keep_days", "less than 180 is refused", "设置有误"),
    ("audit: {profile: md5}", "audit.profile", "valid: gm, standard", "可用：gm, standard"),
    ("audit: {sinks: {a: {type: kafka}}}", "audit.sinks.a", "'file', 'syslog'", "'file', 'syslog'"),
    ("audit: {traces: {share: 1}}", "audit.traces.base_url", "https://mes.example/api", "缺少键 'base_url'"),
    ("apis: [x]", "apis", "NAME: {…}", "NAME: {…}"),
]
CASES = [(f"apis:\n  x: {{{text}}}", LINE + 1, f"apis.x.{path}", en, zh) for text, path, en, zh in OF_API]
CASES += [(text, LINE, path, en, zh) for text, path, en, zh in OF_REST]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[2]))
def test_a_mistake_is_told(tmp_path: Path, case: tuple[str, int, str, str, str]) -> None:
    text, line, path, en, zh = case
    make(tmp_path / "lake.db", "orders", "id INTEGER PRIMARY KEY, note TEXT", [(1, "a")])
    (tmp_path / "tongqu.yaml").write_text(f"{HEAD}{text}\n", encoding="utf-8")
    for language, words in (("en", en), ("zh", zh)):
        done = inside(tmp_path, "check", "--json", "--lang", language)
        assert done.code in (1, 2)
        problem = done.document["problems"][0]
        assert problem["path"] == f"tongqu.yaml:{line}:{path}"
        assert words in f"{problem['message']} {problem['hint']}"
        assert bool(re.search("[\u4e00-\u9fff]", problem["message"])) == (language == "zh")
