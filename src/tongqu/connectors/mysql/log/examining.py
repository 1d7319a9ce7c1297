"""What following the log needs of a server, the login and the tables, each with the statement that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tongqu.connectors.mysql import catalog
from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.log import server
from tongqu.connectors.mysql.log.dump import RESYNC
from tongqu.connectors.mysql.log.places import Place
from tongqu.connectors.mysql.log.untold import untold
from tongqu.core.data import Dataset
from tongqu.core.errors import LostPositionError, PrivilegeError, TongquError
from tongqu.core.log import Finding, Unsent

_DAY = 86_400
_LARGE = re.compile(r"blob|text|json|geometry|point|linestring|polygon")
"""Types whose values images of NOBLOB lack where they did not change."""
_ENOUGH = 3 * _DAY


def examined(db: MysqlDb, datasets: Iterable[Dataset], place: Place | None) -> list[Finding]:
    """All findings; changes nothing."""
    told = {str(n).lower(): str(v) for n, v in db.rows(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'binlog_row_image', "
        "'binlog_row_metadata', 'binlog_row_value_options', 'gtid_mode', 'gtid_strict_mode', 'server_id', "
        "'binlog_transaction_compression')"
    )}  # fmt: skip
    found = [
        _want("log_bin", told, "ON", "error", "in my.cnf under [mysqld]: log_bin = bin; then restart the server"),
        _want("binlog_format", told, "ROW", "error", "SET GLOBAL binlog_format = 'ROW'"),
        _want("binlog_row_image", told, "FULL", "warning", "SET GLOBAL binlog_row_image = 'FULL'"),
        _want("binlog_row_metadata", told, "FULL", "warning", "SET GLOBAL binlog_row_metadata = 'FULL'"),
    ]
    if "binlog_row_value_options" in told:
        fix = "SET GLOBAL binlog_row_value_options = ''"
        found.append(_want("binlog_row_value_options", told, "", "error", fix))
    if "binlog_transaction_compression" in told:
        fix = "SET GLOBAL binlog_transaction_compression = OFF"
        found.append(_want("binlog_transaction_compression", told, "OFF", "error", fix))
    if db.is_mariadb:
        found.append(_want("gtid_strict_mode", told, "ON", "warning", "SET GLOBAL gtid_strict_mode = ON"))
    else:
        fix = "turn gtid_mode ON step by step: the log then goes on after a failover"
        found.append(_want("gtid_mode", told, "ON", "warning", fix))
    no_id = told.get("server_id", "0") == "0"
    found.append(
        Finding(
            "server_id",
            "error" if no_id else "ok",
            told.get("server_id", "0"),
            "SET GLOBAL server_id = 1" if no_id else "",
        )
    )
    datasets = list(datasets)
    found += [_kept(db), *_rights(db), *_keys(datasets)]
    tables = {info.name: (info.schema, info.table) for one in datasets if (info := catalog.find(db, one.name))}
    found += [Finding(f"rows {name}", "error", why.message, why.hint) for name, why in untold(db, tables).items()]
    if place is not None:
        found.append(_position(db, place))
    return found


def unsent(db: MysqlDb, dataset: Dataset) -> Unsent | None:
    """See Log.unsent. Images are FULL, or lack what did not change: large values (NOBLOB), or all of it (MINIMAL)."""
    image = str(db.rows("SELECT @@GLOBAL.binlog_row_image")[0][0]).upper()
    others = [field for field in dataset.schema if field.name not in dataset.key]
    if image == "NOBLOB":
        info = catalog.find(db, dataset.name)
        large = {column.name for column in info.columns if _LARGE.search(column.native.name)} if info else set()
        others = [field for field in others if field.name in large]
    if image == "FULL" or not others:
        return None
    fix = "SET GLOBAL binlog_row_image = 'FULL', and let the writers log in anew"
    return Unsent(tuple(field.name for field in others), fix)


def _want(what: str, told: dict[str, str], value: str, state: str, fix: str) -> Finding:
    found = told.get(what, "")
    if found.upper() == value:
        return Finding(what, "ok", found)
    return Finding(what, "error" if state == "error" else "warning", found or "not known", fix)


def seconds_kept(db: MysqlDb) -> float:
    """How long the server keeps its log; 0 for ever."""
    told = {str(n).lower(): float(v) for n, v in db.rows(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('binlog_expire_logs_seconds', 'expire_logs_days')"
    )}  # fmt: skip
    return told.get("binlog_expire_logs_seconds") or told.get("expire_logs_days", 0.0) * _DAY


def _kept(db: MysqlDb) -> Finding:
    seconds = seconds_kept(db)
    if seconds and seconds < _ENOUGH:
        return Finding(
            "binlog_expire", "warning", f"{seconds / 3600:g} hours",
            "SET GLOBAL binlog_expire_logs_seconds = 864000 (as long as the longest outage)",
        )  # fmt: skip
    return Finding("binlog_expire", "ok", f"{seconds / _DAY:g} days" if seconds else "kept until purged by hand")


def _rights(db: MysqlDb) -> list[Finding]:
    """REPLICATION SLAVE to be sent the log, and the right to see where it stands."""
    user = f"'{db.settings.user}'@'%'"
    text = " ".join(str(row[0]).upper() for row in db.rows("SHOW GRANTS"))
    everything = "GRANT ALL PRIVILEGES ON *.*" in text
    slave = everything or "REPLICATION SLAVE" in text
    found = [
        Finding(
            "replication_slave", "ok" if slave else "error", "granted" if slave else "not granted",
            "" if slave else f"GRANT REPLICATION SLAVE ON *.* TO {user}",
        )
    ]  # fmt: skip
    right = "BINLOG MONITOR" if db.is_mariadb else "REPLICATION CLIENT"
    try:
        server.files(db)
    except PrivilegeError:
        found.append(Finding("replication_client", "error", "not granted", f"GRANT {right} ON *.* TO {user}"))
    except TongquError as error:
        found.append(Finding("replication_client", "error", error.message, error.hint))
    else:
        found.append(Finding("replication_client", "ok", "granted"))
    return found


def _keys(datasets: Iterable[Dataset]) -> list[Finding]:
    return [
        Finding(
            f"key {dataset.name}", "ok" if dataset.key else "warning", ", ".join(dataset.key) or "none",
            "" if dataset.key else f"ALTER TABLE {dataset.name} ADD PRIMARY KEY (…), or give --key",
        )
        for dataset in datasets
    ]  # fmt: skip


def _position(db: MysqlDb, place: Place) -> Finding:
    shown = f"{place.file}:{place.pos}"
    try:
        server.kept(db, place)
    except LostPositionError as error:
        return Finding("position", "error", error.message, RESYNC)
    return Finding("position", "ok", shown)
