"""The URL of a MongoDB, in our words and in the driver's."""

from __future__ import annotations

import pytest

from tongqu.connectors.mongodb.settings import from_url
from tongqu.core.errors import InvalidSettingsError


def test_a_url_names_hosts_login_and_database() -> None:
    found = from_url("mongodb://me:p%40ss@db1:27018,db2,[::1]:27019/qms?replicaSet=rs0&tls=true&authSource=admin")
    assert found.hosts() == [("db1", 27018), ("db2", 27017), ("::1", 27019)]
    assert (found.user, found.database, found.tls, found.replica_set) == ("me", "qms", "verify", "rs0")
    assert found.password is not None
    assert found.password.get_secret_value() == "p@ss"
    assert "p@ss" not in found.display() + found.identity()
    assert found.identity() == "mongodb://::1:27019,db1:27018,db2:27017/qms"


def test_a_seed_list_means_tls() -> None:
    found = from_url("mongodb+srv://me:x@cluster.example.com/qms")
    assert (found.srv, found.host, found.tls) == (True, "cluster.example.com", "verify")


def test_the_login_is_known_in_the_database_unless_said_otherwise() -> None:
    assert from_url("mongodb://me:x@db/qms").auth_source == "qms"
    assert from_url("mongodb://me:x@db/qms?auth_source=admin").auth_source == "admin"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidSettingsError, match="noSuch"):
        from_url("mongodb://db/qms?noSuch=1")
