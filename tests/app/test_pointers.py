"""Names in any section that lead nowhere: `check` tells each with its place, the nearest there is and what is valid."""

from __future__ import annotations

from pathlib import Path

from tongqu.testing.command_line import inside, make, tongqu

PROJECT = """
project: plant
connections:
  erp: {type: sqlite, path: erp.db}
"""
QUEUE = "  events: {type: queue, path: events.queue}\n"


def project(folder: Path, text: str) -> Path:
    make(folder / "erp.db", "lots", "id INTEGER PRIMARY KEY, price INTEGER", [(1, 5)])
    (folder / "tongqu.yaml").write_text(PROJECT + text, encoding="utf-8")
    return folder


def told(folder: Path, text: str, *words: str) -> dict[str, str]:
    """What `check` says: the hint of each problem by its path, without the file."""
    problems = inside(project(folder, text), "check", "--json", *words).document["problems"]
    return {one["path"].split(":", 2)[-1]: one["hint"] for one in problems}


def test_connections_purposes_and_fields_that_are_not_there_are_told_with_the_nearest(tmp_path: Path) -> None:
    assert told(
        tmp_path,
        QUEUE
        + """
datasets:
  lot:
    closed: true
    freshness: {field: updted_at, within: 36 h}
    retention: {since: mad_at, days: 30}
    rules: [{name: sent, expression: shiped >= 1}]
    fields: {id: {type: int64}, updated_at: {type: timestamp}, made_at: {type: timestamp}, shipped: {type: int64}}
sync:
  lots:
    between: [{connection: erp, dataset: lots}, {connection: erp, dataset: lots, name: mes}]
    fields: [price]
    master: {"*": erp, prce: mes}
purposes: {quality: {}}
engine: {queue: {connection: event}}
gateway: {news: {mail: erp}}
identity: {issuers: {k: {issuer: "https://k.example", audience: tq, purposes: [qualty]}}}
""",
    ) == {
        "datasets.lot.freshness.field": "did you mean 'updated_at'? valid: id, made_at, shipped, updated_at",
        "datasets.lot.retention.since": "did you mean 'made_at'? valid: id, made_at, shipped, updated_at",
        "datasets.lot.rules[0].expression": "did you mean 'shipped'? columns: id, updated_at, made_at, shipped",
        "sync.lots.master.prce": "did you mean 'price'? valid: price",
        "engine.queue.connection": "did you mean 'events'? valid: erp, events",
        "gateway.news.mail": "type: smtp",
        "identity.issuers.k.purposes": "did you mean 'quality'? valid: quality",
    }


def test_a_field_that_an_open_dataset_nearly_has_is_a_warning(tmp_path: Path) -> None:
    text = "datasets: {lot: {key: [lotno], freshness: {field: seen, within: 1 h}, fields: {lot_no: {}, made: {}}}}\n"
    done = inside(project(tmp_path, text), "check", "--json")
    assert done.code == 0
    [warning] = done.document["problems"]
    assert (warning["level"], warning["path"].split(":")[-1]) == ("warning", "datasets.lot.key[0]")


def test_references_of_every_section_lead_somewhere(tmp_path: Path) -> None:
    text = (
        QUEUE
        + """
hooks: {github: {verify: github, secret: ["${secret:githb}", "${env:GITHUB_OLD}"], to: {connection: events}}}
apis:
  lots:
    source: {connection: erp, dataset: lots}
    webhooks: {mes: {url: "https://mes.example/in", as: mes, secret: "${secret:mes}"}}
webhooks: {all: {apis: lots, url: "https://all.example/in", as: mes, secret: "${file:all.txt}"}}
gateway: {limits: {redis: "${env:LIMITS}"}, cache: {redis: "${env:CACHE}"}}
audit: {sinks: {siem: {type: splunk, base_url: "https://siem.example", token: "${env:SIEM}"}}}
run: {store: "${env:JOBS}"}
pipelines:
  sealed:
    source: {connection: erp, dataset: lots}
    steps: [{encrypt: {columns: [price], key: "${env:KEY}"}}]
    sink: {connection: erp, dataset: sealed}
"""
    )
    project(tmp_path, text)
    (tmp_path / "home/secrets").mkdir(parents=True, mode=0o700)
    (tmp_path / "home/secrets/github").write_text("hush", encoding="utf-8")
    done = tongqu(tmp_path, "check", "--json")
    assert done.code == 2
    found = {one["path"].split(":", 2)[-1]: one["hint"] for one in done.document["problems"]}
    assert set(found) == {
        "hooks.github.secret[0]", "hooks.github.secret[1]", "apis.lots.webhooks.mes.secret", "webhooks.all.secret",
        "gateway.limits.redis", "gateway.cache.redis", "audit.sinks.siem.token", "run.store",
        "pipelines.sealed.steps[0].encrypt.key",
    }  # fmt: skip
    assert found["hooks.github.secret[0]"] == "did you mean 'github'? or: tongqu secret set githb"
    assert "hush" not in done.out + done.err


def test_a_client_that_is_not_known_yet_is_a_warning_with_the_nearest(tmp_path: Path) -> None:
    text = """
apis:
  lots:
    source: {connection: erp, dataset: lots}
    webhooks: {mes: {url: "https://mes.example/in", as: mess, secret: "${env:HOOK}"}}
gateway: {clients: {erp: {allow: [10.0.0.0/8]}}}
"""
    project(tmp_path, text)
    made = tongqu(tmp_path, "client", "add", "mes", "--role", "quality", "--json", HOOK="whsec_" + "a" * 44)
    assert made.code == 0, made.err
    done = tongqu(tmp_path, "check", "--json", HOOK="whsec_" + "a" * 44)
    found = {one["path"].split(":", 2)[-1]: one for one in done.document["problems"]}
    warnings = {path: one["hint"] for path, one in found.items() if one.get("level") == "warning"}
    assert warnings["apis.lots.webhooks.mes.as"] == "did you mean 'mes'? valid: mes"
    assert warnings["gateway.clients.erp"] == "valid: mes"


def test_a_queue_that_only_a_hook_has_not_written_yet_is_fine(tmp_path: Path) -> None:
    text = f'{QUEUE}hooks: {{h: {{verify: token, secret: "${{env:HOOK}}", to: {{connection: events}}}}}}\n'
    done = tongqu(project(tmp_path, text), "check", "--json", HOOK="hush")
    assert done.code == 0, done.err


def test_what_runs_after_a_stream_would_never_begin(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        QUEUE
        + """
hooks: {github: {verify: github, secret: "${secret:github}", to: {connection: events}}}
pipelines:
  follow: {source: {hook: github}, sink: {connection: erp, dataset: pushes}}
  daily: {source: {connection: erp, dataset: lots}, sink: {connection: erp, dataset: copy}}
  sums:
    source: {connection: erp, dataset: pushes}
    sink: {connection: erp, dataset: sums}
    schedule: {after: [daily, follow]}
reconcile:
  same: {left: {connection: erp, dataset: lots}, right: {connection: erp, dataset: copy}, schedule: {after: follow}}
""",
    )
    way = "read what 'follow' writes, by `mode: cdc` or `incremental`; or use `every: 5m`; pipelines that end: "
    assert found == {
        "pipelines.sums.schedule.after": f"{way}daily",
        "reconcile.same.schedule.after": f"{way}daily, sums",
    }
