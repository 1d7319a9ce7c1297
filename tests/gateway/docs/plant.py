"""A plant over PostgreSQL, as its documents are made: fields of every kind, a mask, a hidden field, writes, a view."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tongqu.testing.command_line import inside

TABLES = """
CREATE TABLE lines (id bigint PRIMARY KEY, title text NOT NULL);
INSERT INTO lines VALUES (1, 'press'), (2, '涂装');
CREATE TABLE items (
  id bigint PRIMARY KEY, lot text NOT NULL, weight numeric(12,3), passed boolean, seen timestamptz, inspector text,
  salary bigint, line_id bigint);
INSERT INTO items VALUES
  (1, 'L1', 1.5, true, '2026-01-01T08:00:00Z', '张三丰', 100, 1), (2, 'L2', 2.25, false, NULL, '李四', 200, 1),
  (3, 'L3', NULL, true, NULL, '王五', 300, 2);
"""
PROJECT = """
project: plant
connections:
  qms: {{type: postgres, url: "{url}"}}
datasets:
  items:
    fields:
      inspector: {{class: personal, mask: name}}
      salary: {{class: secret}}
      weight: {{type: "decimal(12,3)", min: 0, unit: kg, title: {{zh: 重量, en: Weight}}}}
apis:
  items:
    title: {{zh: 检验, en: Inspections}}
    source: {{connection: qms, dataset: items}}
    access:
      roles: [quality]
      write_roles: [quality]
      fields: {{inspector: {{roles: [hr], otherwise: mask}}, salary: {{roles: [hr], otherwise: hide}}}}
    write: {{insert: true, update: true, delete: true}}
    limit: {{requests: 1000000}}
    relations:
      line: {{api: lines, on: {{line_id: id}}, many: false}}
  lines: {{source: {{connection: qms, dataset: lines}}, access: {{public: true}}, limit: {{requests: 1000000}}}}
  secrets: {{source: {{connection: qms, dataset: items}}, access: {{roles: [hr]}}}}
gateway:
  shield: observe
"""


def planted(folder: Path, url: str) -> str:
    """Write the project and its tables; gives a token of the client `mes`, who may read and write items."""
    (folder / "tongqu.yaml").write_text(PROJECT.format(url=url), encoding="utf-8")
    with psycopg.connect(url, autocommit=True) as database:
        database.execute(TABLES)
    added = inside(folder, "client", "add", "mes", "--role", "quality", "--json")
    assert added.code == 0, added.err
    token: str = inside(folder, "token", "issue", "mes", "--json").document["access_token"]
    return token
