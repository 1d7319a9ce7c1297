"""Settings of a connection to a Kafka cluster, and their URL form."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from pydantic import model_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names, Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.settings import Envelope, Format, MessageSettings
from tongqu.kit.messages.urls import broker_url

Metadata = Literal["_topic", "_partition", "_offset", "_timestamp", "_key", "_headers"]


class TopicSettings(MessageSettings):
    """The messages of one topic."""

    topic: str = titled("主题", "Topic", "")
    """The topic's name. Left out: the prefix and the dataset's name."""
    metadata: tuple[Metadata, ...] = titled("元数据列", "Metadata columns", ())
    """What Kafka tells about each message, as columns behind the fields: `_topic`, `_partition`, `_offset`,
    `_timestamp`, `_key` (text), `_headers` (JSON)."""


class KafkaSettings(Networked):
    """A Kafka cluster."""

    host: str = titled("主机", "Host", "localhost", min_length=1)
    """Host name or address of a broker; several with commas between them (`k1,k2:9093`). Brokers that the cluster
    names and that are not listed here must be at public addresses or in `networks`."""
    port: int = titled("端口", "Port", 9092, ge=1, le=65535)
    """TCP port of hosts that name none."""
    networks: Names = titled("代理网段", "Networks of brokers", ())
    """Networks (`10.2.0.0/16`) that brokers which the cluster names may be in."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = titled("安全", "Security", "plaintext")
    """How brokers are spoken to: `ssl` is TLS, `sasl` a login."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = titled("认证方式", "Mechanism", "SCRAM-SHA-512")
    """How the login is proven."""
    user: str = titled("用户", "User", "")
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authority that brokers' certificates must chain to; empty means the system's."""
    certificate_file: str | None = titled("客户端证书", "Client certificate", None)
    """PEM file with our own certificate, where brokers ask for one."""
    key_file: str | None = titled("客户端私钥", "Client key", None)
    """PEM file with the certificate's key."""
    key_password: Secret | None = titled("私钥口令", "Key password", None)
    """Passphrase of the key."""
    group: str = titled("消费组", "Group", "")
    """Consumer group whose offsets are committed for others to see the lag; positions are our own. Left out: `tongqu-`
    and the name of the log."""
    prefix: str = titled("主题前缀", "Prefix", "", pattern=r"^[A-Za-z0-9._-]*$")
    """Only topics that begin with this are meant; datasets are named without it."""
    queue: str = titled("队列", "Queue", "")
    """Topics are a queue of Tongqu's own: blocks of rows with their exact types, changes (with truncations, columns
    that did not change, new ones) as well as messages, in one partition each. Their names begin with the prefix, this
    name and a dot. `engine: {queue: {connection: …}}` says it by itself."""
    topics: dict[str, TopicSettings] = titled("主题", "Topics", {})
    """What is said of topics, by dataset. Others are read as `format` and `envelope` say."""
    format: Format = titled("格式", "Format", "json")
    """Format of topics of which nothing is said."""
    envelope: Envelope = titled("信封", "Envelope", "plain")
    """Envelope of topics of which nothing is said."""
    registry: HttpSettings | None = titled("模式注册表", "Schema registry", None)
    """Schema registry with Confluent's interface: `{base_url: …, auth: {basic: {user: …, password: …}}}`."""
    start: Literal["earliest", "latest"] = titled("起点", "Start", "earliest")
    """Where a stream begins that has no position yet."""
    isolation: Literal["committed", "uncommitted"] = titled("隔离级别", "Isolation", "committed")
    """`committed`: messages of transactions that were given up are never seen."""
    transactions: Literal["auto", "never"] = titled("事务", "Transactions", "auto")
    """`auto`: messages and position commit together where the cluster can; `never`: at least once."""
    partitions: int = titled("分区数", "Partitions", 1, ge=1, le=10_000)
    """Partitions of topics that are made."""
    replication: int = titled("副本数", "Replication", -1, ge=-1, le=100)
    """Replicas of topics that are made; -1: the cluster's default."""
    compression: Literal["none", "lz4", "zstd", "gzip", "snappy"] = titled("压缩", "Compression", "lz4")
    """How batches of messages are packed when they are written."""
    sample: int = titled("取样条数", "Messages sampled", 200, ge=1, le=100_000)
    """How many of a topic's newest messages are looked at to find its fields."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    write_seconds: float = titled("写入超时(秒)", "Write timeout, seconds", 60.0, gt=0)
    """Give up when brokers have not taken messages, or a transaction, for this long."""
    refresh_seconds: float = titled("分区刷新(秒)", "Look for partitions, seconds", 10.0, gt=0)
    """How often a stream looks for partitions that were added."""

    @model_validator(mode="after")
    def _login(self) -> KafkaSettings:
        if self.security.startswith("sasl") and not self.user:
            raise ValueError("security with sasl needs user and password")
        if self.queue and (self.transactions, self.isolation) != ("auto", "committed"):
            raise ValueError("a queue needs transactions: auto and isolation: committed, or rows would come twice")
        return self

    def hosts(self) -> list[tuple[str, int]]:
        """The brokers that are named; raises InvalidSettingsError."""
        found = []
        for one in self.host.split(","):
            name, colon, text = one.strip().rpartition(":") if not one.strip().endswith("]") else (one.strip(), "", "")
            if not colon or (name.count(":") and not name.startswith("[")):
                name, text = one.strip(), ""
            if not name or (text and not text.isdigit()):
                raise InvalidSettingsError(f"{one!r} is no host with a port", path="host", hint="k1:9092,k2:9092")
            found.append((name.strip("[]"), int(text or self.port)))
        return found

    @property
    def base(self) -> str:
        """What all names of topics begin with."""
        return f"{self.prefix}{named(self.queue)}." if self.queue else self.prefix

    def topic(self, dataset: str) -> TopicSettings:
        """What is said of a dataset."""
        if self.queue:
            return TopicSettings(topic=self.base + named(dataset))
        said = self.topics.get(dataset)
        if said is None:
            return TopicSettings(topic=self.prefix + dataset, format=self.format, envelope=self.envelope)
        return said if said.topic else said.model_copy(update={"topic": self.prefix + dataset})

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"kafka://{','.join(sorted(f'{host}:{port}' for host, port in self.hosts()))}/{self.base}"

    def display(self) -> str:
        """See Endpoint.display."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts())
        return f"kafka://{self.user + '@' if self.user else ''}{hosts}/{self.base}"


def named(dataset: str) -> str:
    """A dataset's name as a part of a topic's, which has letters, digits, dots, lines and at most 249 of them."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", dataset)[:100]
    return dataset if plain == dataset else f"{plain}-{hashlib.sha256(dataset.encode()).hexdigest()[:8]}"


def from_url(url: str) -> KafkaSettings:
    """`kafka://user:password@host:port,host2/PREFIX?security=sasl_ssl&envelope=canal`; raises InvalidSettingsError."""
    told = broker_url(url, KafkaSettings.model_fields)
    values: dict[str, Any] = {"user": told.user, "password": told.password, "prefix": told.path}
    place = told.place
    host, colon, port = place.rpartition(":")
    values |= {"host": place} if "," in place or not colon or not port.isdigit() else {"host": host, "port": port}
    if told.user:
        values["security"] = "sasl_ssl"
    values |= told.parameters
    return KafkaSettings.parse({key: value for key, value in values.items() if value != ""})
