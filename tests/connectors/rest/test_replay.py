"""A project that was recorded once runs again without the system, and reference data is asked for once."""

from __future__ import annotations

from pathlib import Path

from tongqu.testing.command_line import inside, query
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

PROJECT = """\
project: replayed
connections:
  mes:
    type: rest
    base_url: {url}
    auth: {{bearer: "${{env:TOKEN}}"}}
    {more}
    datasets:
      items: {{path: /items, records: data, key: [id], paging: {{kind: page, more: more}}}}
  out: {{type: sqlite, path: out.db}}
pipelines:
  load:
    source: {{connection: mes, dataset: items, mode: full}}
    sink: {{connection: out, dataset: items, write: replace}}
"""
RECORD = "record: {{mode: {mode}, masks: {{phone: {{with: phone}}}}}}"


def items(asked: Asked, out: Out) -> None:
    page = int(asked.query.get("page", 1))
    rows = [{"id": n, "phone": "13812345678"} for n in range(page * 10 - 9, page * 10 + 1)]
    out.json({"data": rows, "more": page < 3}, 200 if asked.headers.get("authorization") == "Bearer t0k3n" else 401)


def project(folder: Path, url: str, more: str) -> None:
    (folder / "tongqu.yaml").write_text(PROJECT.format(url=url, more=more), encoding="utf-8")


def loaded(folder: Path) -> tuple[int, str]:
    done = inside(folder, "run", "load", TOKEN="t0k3n")
    assert done.code == 0, done.err
    ((count, phone),) = query(folder / "out.db", "SELECT count(*), min(phone) FROM items")
    return count, phone


def test_recorded_and_replayed(tmp_path: Path) -> None:
    with HttpPeer({"/items": items}) as peer:
        project(tmp_path, peer.url, RECORD.format(mode="record"))
        assert loaded(tmp_path) == (30, "13812345678")
    project(tmp_path, peer.url, RECORD.format(mode="replay"))
    assert loaded(tmp_path) == (30, "138****5678")
    (recording,) = (tmp_path / "home").rglob("recording.jsonl")
    text = recording.read_text(encoding="utf-8")
    assert "t0k3n" not in text
    assert "13812345678" not in text


def test_reference_data_is_asked_for_once(tmp_path: Path) -> None:
    with HttpPeer({"/items": items}) as peer:
        project(tmp_path, peer.url, "cache: {seconds: 3600}")
        assert [loaded(tmp_path) for _ in range(3)] == [(30, "13812345678")] * 3
        assert len(peer.calls) == 3
