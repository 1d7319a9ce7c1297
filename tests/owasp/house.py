"""Two plants that share one gateway over PostgreSQL and must never see each other; asked as strangers ask."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tongqu.testing.services.gateway import Answered, Gateway

FOREIGN = "VERBORGEN"
"""Stands in every row of plant B, and in every field that nobody may see."""
SALARIES = ("1971234711", "1971234712", "1971234713", "1971234714")
TABLES = f"""
CREATE TABLE lines (line_id int PRIMARY KEY, plant text NOT NULL, title text NOT NULL);
INSERT INTO lines VALUES (1, 'A', 'press'), (2, 'B', '{FOREIGN} weld');
CREATE TABLE items (id bigint PRIMARY KEY, plant text NOT NULL, lot text, weight numeric(12,3), inspector text,
                    salary int, line_id int);
INSERT INTO items VALUES
  (1, 'A', 'L1', 1.500, '张三丰', 1971234711, 1), (2, 'A', 'L2', 2.250, '李四', 1971234712, 1),
  (3, 'B', '{FOREIGN}-3', 3.000, '{FOREIGN} three', 1971234713, 2),
  (4, 'B', '{FOREIGN}-4', 4.000, '{FOREIGN} four', 1971234714, 2);
"""
PROJECT = """
project: plants
connections:
  shop: {type: postgres, url: "${env:SHOP_URL}"}
datasets:
  items:
    owner: quality
    fields:
      inspector: {class: personal, mask: name}
      salary: {class: secret}
apis:
  items:
    source: {connection: shop, dataset: items}
    owner: quality
    access:
      roles: [quality, hr]
      write_roles: [quality]
      rows: "plant = actor.plant"
      fields: {inspector: {roles: [hr], otherwise: mask}}
    relations: {line: {api: lines, on: {line_id: line_id}, many: false}}
    write: {insert: true, update: true, delete: true}
    limit: {requests: 100000, rows: 100, body_kb: 64}
    cache: {seconds: 60}
  lines:
    source: {connection: shop, dataset: lines}
    access: {roles: [quality], rows: "plant = actor.plant"}
    relations: {items: {api: items, on: {line_id: line_id}}}
    limit: {requests: 100000}
  open:
    source: {connection: shop, dataset: lines}
    fields: [line_id]
    access: {public: true}
    limit: {requests: 100000}
  few:
    source: {connection: shop, dataset: lines}
    access: {roles: [quality]}
    limit: {requests: 5, per: day}
gateway:
  limits: {address: {requests: 1000000, burst: 100000}, failures: {requests: 1000000, burst: 100000}}
"""
CLIENTS = {
    "alpha": ("quality", "plant=A"),
    "beta": ("quality", "plant=B"),
    "gamma": ("quality", "plant=A"),
    "people": ("hr", "plant=A"),
    "lost": ("nothing", "plant=A"),
}


@dataclass(frozen=True)
class House:
    """The running gateway and a token of each client."""

    gateway: Gateway
    tokens: Mapping[str, str]
    shop: str
    """URL of the database."""

    def ask(self, who: str, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answered:
        """One call by a client (nobody: ``). Headers are written `if_match`."""
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if who:
            given.append(("authorization", f"Bearer {self.tokens[who]}"))
        return self.gateway.ask(path, method, body, given)

    def raw(self, request: bytes, seconds: float = 10.0) -> bytes:
        """The bytes that come back for these bytes until the line is cut."""
        parts = urlsplit(self.gateway.url)
        with socket.create_connection((str(parts.hostname), parts.port or 80), seconds) as line:
            line.sendall(request)
            got = b""
            try:
                while piece := line.recv(65_536):
                    got += piece
            except ConnectionResetError:
                return got
            return got

    def status(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """A request whose target is sent as it is written."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        got = self.raw(("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1"))
        head, _, body = got.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body
