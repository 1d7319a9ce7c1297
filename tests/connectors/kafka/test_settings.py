"""What a URL of a cluster says, and what is refused."""

from __future__ import annotations

import pytest

from tongqu.connectors.kafka.cluster import Cluster
from tongqu.connectors.kafka.settings import KafkaSettings, from_url
from tongqu.core.errors import InvalidSettingsError


def test_a_url_names_brokers_login_and_prefix() -> None:
    found = from_url("kafka://me:s%40crt@k1:9093,k2/plant1.?mechanism=PLAIN")
    assert found.hosts() == [("k1", 9093), ("k2", 9092)]
    assert (found.user, found.security, found.mechanism, found.prefix) == ("me", "sasl_ssl", "PLAIN", "plant1.")
    assert "s@crt" not in found.display() + found.identity() + repr(found)


def test_an_address_in_brackets_is_one_host() -> None:
    assert KafkaSettings(host="[::1]:9093,[::2]").hosts() == [("::1", 9093), ("::2", 9092)]


@pytest.mark.parametrize("url", ["kafka://k1/?topic=x", "kafka://k1:x/", "kafka://k1/?security=sasl_ssl"])
def test_what_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettingsError):
        from_url(url).hosts()


def test_hops_are_refused_honestly() -> None:
    settings = KafkaSettings.parse({"via": [{"proxy": "socks5://p:1080"}]})
    with pytest.raises(InvalidSettingsError, match="no way through hops"):
        Cluster(settings).options()
