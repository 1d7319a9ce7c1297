"""A running server warns of keys and certificates before they end: in its log, the audit trail and its metrics."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.app.test_identity import certificate

from tongqu.app.services.expiring import Expiring
from tongqu.app.services.identity import Callers
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.audit.reading import Wanted, newest
from tongqu.store.audit.trail import Trail
from tongqu.store.feed import Feed
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.testing.command_line import inside, make
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: lots.db}}
apis:
  lots: {source: {connection: db, dataset: lots}, access: {public: true}}
"""


def test_each_threshold_is_told_once_the_servers_own_certificate_among_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path / "home")
    home.ensure()
    file = tmp_path / "server.pem"
    file.write_bytes(certificate())  # ends in 20 days
    now = datetime.now(UTC)
    callers = Callers(home, Scrubber(), IdentitySettings, clock=lambda: now)
    logging.getLogger("tongqu").propagate = True
    with closing(Trail.open(home)) as trail, closing(Feed.open(home)) as feed:
        clock = 0.0
        expiring = Expiring(callers, trail, feed, "me", str(file), clock=lambda: clock)
        counted = []
        for days in (0, 0, 13, 19, 20, 21):
            now = datetime.now(UTC) + timedelta(days, minutes=1)
            clock += 3601
            expiring.turn()
            counted.append(dict(expiring.counts))
        assert counted == [{30: 1}, {30: 1}, {7: 1}, {1: 1}, {0: 1}, {0: 1}]
        told = [(one["on"], one["item"], one["days"]) for one in newest(trail.place, Wanted(kind="expiring"), 10)]
        assert told == [(str(file), "certificate", days) for days in (0, 1, 7, 30)]
        assert [one.getMessage().split(" at ")[0] for one in caplog.records if one.levelname == "WARNING"] == [
            f"certificate of {file} ends", f"certificate of {file} ends", f"certificate of {file} ends",
            f"certificate of {file} ended",
        ]  # fmt: skip

        other = Expiring(callers, trail, feed, "other", str(file))
        other.turn()
        assert not other.counts  # one process of a home does it


def test_a_served_project_counts_what_ends_among_its_metrics(tmp_path: Path) -> None:
    make(tmp_path / "lots.db", "lots", "id INTEGER PRIMARY KEY, weight REAL", [(1, 1.0)])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    assert inside(tmp_path, "client", "add", "mes", "--expires", "6d").code == 0
    with Gateway(tmp_path) as gateway:
        told = gateway.until(lambda one: b'tongqu_credentials_expiring{days="7"} ' in one.body and
                             b'tongqu_credentials_expiring{days="7"} 0' not in one.body, "/metrics")  # fmt: skip
        assert b'tongqu_source_connections_limit{connection="db"} ' in told.body
        assert b'tongqu_source_connections{connection="db"} 0' in told.body
        assert "client:mes" in gateway.errors
        assert gateway.stop() == 0
