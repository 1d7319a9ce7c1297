"""Second sinks: every record reaches each of them, in order, also after they were away."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tongqu.gateway.audit.settings import AuditEntry
from tongqu.gateway.audit.shipping import Sent, Shipper, Shipping
from tongqu.gateway.audit.sinks import FileSink, sink_of
from tongqu.store.audit.reading import Wanted, every
from tongqu.store.audit.trail import Trail
from tongqu.store.home import Home
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.elasticsearch import Elasticsearch
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    trail = Trail.open(Home(tmp_path / "home"))
    chain = trail.begin("c-1")
    chain.append(trail._today(), [trail.body("call", who="client:mes", api="lots", n=n) for n in range(7)])
    trail.note("action", who="user:李", what='a "quoted" ]')
    trail.end(chain)
    yield trail
    trail.close()


def shipper(trail: Trail, name: str, **settings: Any) -> Shipper:
    entry = AuditEntry.parse({"sinks": {name: settings}}).sinks[name]
    return Shipper(trail.place, name, sink_of(entry))


def kinds(trail: Trail) -> list[str]:
    return sorted(record["kind"] for record in every(trail.place, Wanted()))


TOTAL = 7 + 1 + 2 + 2  # calls, action, begin and end in both chains


def test_a_file_gets_the_lines_as_they_stand_in_the_trail(trail: Trail, tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    sink = shipper(trail, "disk", type="file", path=str(copy))
    assert sink.ship() == TOTAL
    assert sink.ship() == 0
    trail.note("action", what="later")
    assert sink.ship() == 1
    sink.close()
    lines = copy.read_bytes().splitlines()
    own = [b"%s %s" % (path.stem.encode(), line) for path in trail.place.folder.glob("2*/*.log")
           for line in path.read_bytes().splitlines()]  # fmt: skip
    assert sorted(lines) == sorted(own)
    again = shipper(trail, "disk", type="file", path=str(copy))
    assert again.ship() == 0
    again.close()


def test_a_sink_that_is_away_loses_nothing_and_is_told_once(trail: Trail, tmp_path: Path) -> None:
    copy = tmp_path / "away" / "copy.log"
    warned: list[str] = []
    entry = AuditEntry.parse({"sinks": {"disk": {"type": "file", "path": str(copy)}}}).sinks["disk"]
    sink = Shipper(trail.place, "disk", sink_of(entry), warned.append)
    assert (sink.ship(), sink.ship()) == (0, 0)
    assert len(warned) == 1
    assert sink.state.behind > 0
    copy.parent.mkdir()
    assert sink.ship() == TOTAL
    assert (sink.state.error, sink.state.behind) == ("", 0)
    sink.close()


def test_one_process_ships_and_another_takes_over(trail: Trail, tmp_path: Path) -> None:
    one = shipper(trail, "disk", type="file", path=str(tmp_path / "copy"))
    two = shipper(trail, "disk", type="file", path=str(tmp_path / "copy"))
    assert one.ship() == TOTAL
    trail.note("action", what="later")
    assert two.ship() == 0
    one.close()
    assert two.ship() == 1
    two.close()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_syslog_over_a_stream_counts_octets(trail: Trail, tmp_path: Path, transport: str) -> None:
    authority = Authority(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        more = {"tls": {"ca_file": str(authority.ca_file)}} if transport == "tls" else {}
        sink = shipper(trail, "log", type="syslog", host="127.0.0.1", port=server.getsockname()[1],
                       transport=transport, **more)  # fmt: skip
        got: list[bytes] = []

        def listen() -> None:
            opened, _ = server.accept()
            if transport == "tls":
                opened = authority.server().wrap_socket(opened, server_side=True)
            with opened, opened.makefile("rb") as stream:
                while (length := b"".join(iter(lambda: stream.read(1).strip(), b""))) != b"":
                    got.append(stream.read(int(length)))

        thread = Thread(target=listen)
        thread.start()
        assert sink.ship() == TOTAL
        sink.close()
        thread.join(10)
    assert len(got) == TOTAL
    pattern = re.compile(
        rb"<110>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ tongqu \d+ (\w+) "
        rb'\[tongqu@32473 chain="[^"]+" seq="\d+" hash="[0-9a-f]{64}"\] \xef\xbb\xbf(\{.*\})'
    )
    found = [pattern.fullmatch(message) for message in got]
    assert all(found)
    assert sorted(match[1].decode() for match in found if match) == kinds(trail)
    assert {"user:李"} == {who for match in found if match and (who := json.loads(match[2]).get("who", "")) > "user"}


def test_syslog_over_udp_sends_one_datagram_a_record(trail: Trail) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        sink = shipper(trail, "log", type="syslog", host="127.0.0.1", port=server.getsockname()[1], transport="udp")
        assert sink.ship() == TOTAL
        got = [server.recv(65536) for _ in range(TOTAL)]
        sink.close()
    assert all(message.startswith(b"<110>1 2") for message in got)


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A real rsyslog on loopback: its port, and the file it writes parsed messages to."""
    from tongqu.testing.services.install import program

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    out, conf = tmp_path / "parsed", tmp_path / "rsyslog.conf"
    conf.write_text(
        f'global(workDirectory="{tmp_path}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")\n'
        f'module(load="imtcp")\ninput(type="imtcp" address="127.0.0.1" port="{port}")\n'
        'template(name="t" type="string" string="%app-name%|%msgid%|%structured-data%|%msg%\\n")\n'
        f'action(type="omfile" file="{out}" template="t")\n'
    )
    daemon = program("rsyslogd", "rsyslog")
    process = subprocess.Popen([daemon, "-n", "-f", conf, "-i", tmp_path / "pid"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None
    yield port, out
    process.terminate()
    process.wait(10)


def test_a_real_rsyslog_understands_every_message(trail: Trail, rsyslog: tuple[int, Path]) -> None:
    port, out = rsyslog
    sink = shipper(trail, "log", type="syslog", host="127.0.0.1", port=port)
    assert sink.ship() == TOTAL
    sink.close()
    until = time.monotonic() + 20
    while time.monotonic() < until and (not out.exists() or out.read_bytes().count(b"\n") < TOTAL):
        socket.socket().close()
    parsed = [line.split("|", 3) for line in out.read_text(encoding="utf-8").splitlines()]
    assert sorted(message[1] for message in parsed) == kinds(trail)
    assert all(message[0] == "tongqu" and message[2].startswith("[tongqu@32473 chain=") for message in parsed)


def test_elasticsearch_has_each_record_once_however_often_it_is_sent(
    trail: Trail, elasticsearch: Elasticsearch
) -> None:
    where = {"type": "elasticsearch", "base_url": f"http://{elasticsearch.host}:{elasticsearch.port}"}
    sink = shipper(trail, "es", **where)
    try:
        assert (sink.ship(), sink.state.error) == (TOTAL, "")
    finally:
        sink.close()
    shutil.rmtree(trail.place.folder.parent / "audit-sinks")
    again = shipper(trail, "es", **where)
    assert again.ship() == TOTAL
    again.close()
    elasticsearch.ask("POST", "/tongqu-audit/_refresh")
    hits = elasticsearch.ask("POST", "/tongqu-audit/_search", {"size": 100, "query": {"match_all": {}}})["hits"]["hits"]
    assert sorted(hit["_source"]["kind"] for hit in hits) == kinds(trail)
    assert {hit["_source"]["@timestamp"][:2] for hit in hits} == {"20"}


def _body(asked: Asked) -> bytes:
    return gzip.decompress(asked.body) if asked.headers.get("content-encoding") == "gzip" else asked.body


def test_otlp_is_what_opentelemetrys_own_schema_reads(trail: Trail) -> None:
    from google.protobuf.json_format import Parse  # type: ignore[import-untyped]  # it has none
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    with HttpPeer({"/v1/logs": lambda asked, out: out.json({})}) as peer:
        sink = shipper(trail, "otlp", type="otlp", base_url=peer.url, retry={"attempts": 1})
        assert sink.ship() == TOTAL
        sink.close()
        read = Parse(_body(peer.calls[0]), ExportLogsServiceRequest())
    logs = read.resource_logs[0].scope_logs[0].log_records
    assert sorted(json.loads(log.body.string_value)["kind"] for log in logs) == kinds(trail)
    assert all(log.time_unix_nano > 0 and log.severity_number == 9 for log in logs)


def test_otlp_that_is_refused_in_part_is_sent_again(trail: Trail) -> None:
    answers = iter([{"partialSuccess": {"rejectedLogRecords": "1"}}, {}])
    with HttpPeer({"/v1/logs": lambda asked, out: out.json(next(answers))}) as peer:
        sink = shipper(trail, "otlp", type="otlp", base_url=peer.url)
        assert (sink.ship(), "refused 1" in sink.state.error, sink.ship()) == (0, True, TOTAL)
        sink.close()


def test_splunk_gets_events_with_their_time_and_the_token_in_no_error(trail: Trail) -> None:
    def collect(asked: Asked, out: Out) -> None:
        good = asked.headers.get("authorization") == "Splunk t0ken-t0ken"
        out.json({"text": "Success", "code": 0} if good else {"text": "Invalid token", "code": 4}, 200 if good else 403)

    with HttpPeer({"/services/collector/event": collect}) as peer:
        sink = shipper(trail, "splunk", type="splunk", base_url=peer.url, token="t0ken-t0ken", index="audit")
        assert sink.ship() == TOTAL
        events = [json.loads(line) for line in _body(peer.calls[0]).splitlines()]
        sink.close()
        bad = shipper(trail, "bad", type="splunk", base_url=peer.url, token="wr0ng-wr0ng")
        assert bad.ship() == 0
        bad.close()
    assert sorted(event["event"]["kind"] for event in events) == kinds(trail)
    assert {(event["index"], event["sourcetype"]) for event in events} == {("audit", "tongqu:audit")}
    assert bad.state.error
    assert "wr0ng" not in bad.state.error


def test_a_sink_that_hangs_keeps_no_other_waiting(trail: Trail, tmp_path: Path) -> None:
    free, sent = Event(), Event()

    class Hanging(FileSink):
        def send(self, records: Sequence[Sent]) -> None:
            free.wait(30)

    class Telling(FileSink):
        def send(self, records: Sequence[Sent]) -> None:
            sent.set()

    shipping = Shipping(
        [Shipper(trail.place, "hangs", Hanging(tmp_path)), Shipper(trail.place, "goes", Telling(tmp_path))], 0.01
    )
    shipping.start()
    assert sent.wait(10)
    free.set()
    shipping.close()
