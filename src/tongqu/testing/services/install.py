"""Installs the Debian packages of the servers that tests talk to, if they are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tongqu.testing.services.errors import ServiceError, ServiceInstallError, ServiceMissingError

POSTGRES = "postgresql"
MARIADB = "mariadb-server"
PROGRAMS: dict[str, tuple[str, ...]] = {
    POSTGRES: (),  # found in its own folder
    MARIADB: ("mariadbd", "mariadb-install-db"),
    "openssh-server": ("sshd",),
    "vsftpd": ("vsftpd",),
    "openssl": ("openssl",),
    "samba": ("smbd",),
    "rsyslog": ("rsyslogd",),
    "dovecot-imapd": ("dovecot",),
    "clickhouse-server": ("clickhouse-server",),
    "odbc-postgresql": ("/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so",),
    "odbc-mariadb": ("/usr/lib/x86_64-linux-gnu/odbc/libmaodbc.so",),
    "libpostgresql-jdbc-java": ("/usr/share/java/postgresql.jar",),
    "libmariadb-java": ("/usr/share/java/mariadb-java-client.jar",),
    "default-jdk-headless": ("java", "javac"),
    "redis-server": ("redis-server",),
    "nginx": ("nginx",),
    "nats-server": ("nats-server",),
    "mosquitto": ("mosquitto", "mosquitto_passwd"),
    "rabbitmq-server": ("rabbitmqctl", "epmd"),
    "activemq": ("/usr/share/activemq/lib/activemq-stomp.jar",),
    "libsqliteodbc": ("/usr/lib/x86_64-linux-gnu/odbc/libsqlite3odbc.so",),
}
"""Debian packages with the programs that tell whether one is installed; a path instead of a name where it has none."""
GROUPS: dict[str, tuple[str, ...]] = {
    "core": tuple(PROGRAMS),
    "postgres": (POSTGRES,),
    "mariadb": (MARIADB,),
}

# Runs as root. policy-rc.d 101 forbids package scripts to start daemons (Debian policy 9.3.3); whatever
# was there before comes back, even if apt fails. The lock lets parallel callers take turns.
_SCRIPT = r"""
set -eu
exec 9>/run/lock/tongqu-services.lock
flock 9
policy=/usr/sbin/policy-rc.d
kept=$(mktemp -d)
if [ -e "$policy" ] || [ -L "$policy" ]; then cp -a "$policy" "$kept/before"; fi
restore() {
  rm -f "$policy"
  if [ -e "$kept/before" ] || [ -L "$kept/before" ]; then cp -a "$kept/before" "$policy"; fi
  rm -rf "$kept"
}
trap restore EXIT
trap 'exit 143' HUP INT TERM
rm -f "$policy"
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o DPkg::Lock::Timeout=600 update || echo "apt-get update failed; trying with the lists at hand" >&2
apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "$@"
"""


def postgres_bin() -> Path:
    """Folder of the newest Debian PostgreSQL's programs; ServiceMissingError if there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not found:
        raise ServiceMissingError(POSTGRES)
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)])


def program(name: str, package: str) -> Path:
    """Path of a program of a package; ServiceMissingError if it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None and not (name.startswith("/") and Path(name).exists()):
        raise ServiceMissingError(package)
    return Path(found or name)


def mariadb_program(name: str) -> Path:
    """Path of one of MariaDB's programs; ServiceMissingError if it is not installed."""
    return program(name, MARIADB)


def missing(group: str = "core") -> tuple[str, ...]:
    """Debian packages of `group` whose programs are not on this machine; ServiceError for an unknown group."""
    if group not in GROUPS:
        raise ServiceError(f"unknown group {group!r}", hint=f"known groups: {', '.join(sorted(GROUPS))}")
    return tuple(package for package in GROUPS[group] if not _installed(package))


def ensure(group: str = "core") -> tuple[str, ...]:
    """Installs what is missing of `group` and returns the packages it installed (none: nothing was run).

    One `apt-get update` and one `apt-get install`, as root or through `sudo -n`; no daemon is started.
    Raises ServiceError naming the packages when this machine can not install them.
    """
    packages = missing(group)
    if not packages:
        return ()
    names = " ".join(packages)
    hint = f"install by hand: apt-get install --no-install-recommends {names}"
    if shutil.which("apt-get") is None:
        raise ServiceInstallError(f"missing: {names}; this machine has no apt-get", hint=hint)
    command = ["sh", "-c", _SCRIPT, "ensure", *packages]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise ServiceInstallError(f"missing: {names}; not root and there is no sudo", hint=hint)
        command = ["sudo", "-n", *command]
    done = subprocess.run(command, stdout=sys.stderr, stdin=subprocess.DEVNULL, check=False)
    left = missing(group)
    if done.returncode != 0 or left:
        raise ServiceInstallError(
            f"could not install {' '.join(left or packages)} (apt-get ended with {done.returncode})",
            hint=hint,
        )
    return packages


def _installed(package: str) -> bool:
    try:
        if package == POSTGRES:
            postgres_bin()
        for name in PROGRAMS[package]:
            program(name, package)
    except ServiceMissingError:
        return False
    return True
