"""Real servers for tests on random loopback ports, with a proxy that breaks their network on demand."""

from __future__ import annotations

from tongqu.testing.services.activemq import Activemq, start_activemq
from tongqu.testing.services.clickhouse import Clickhouse, start_clickhouse
from tongqu.testing.services.dovecot import Dovecot, start_dovecot
from tongqu.testing.services.elasticsearch import Elasticsearch, start_elasticsearch
from tongqu.testing.services.errors import ServiceError, ServiceInstallError, ServiceMissingError, ServiceStartError
from tongqu.testing.services.forgetting_disk import ForgettingDisk
from tongqu.testing.services.install import ensure, missing
from tongqu.testing.services.kafka import Kafka, start_kafka
from tongqu.testing.services.mariadb import MariaDB, start_mariadb
from tongqu.testing.services.mongodb import Mongodb, start_mongodb
from tongqu.testing.services.mosquitto import Mosquitto, start_mosquitto
from tongqu.testing.services.nats import Nats, start_nats
from tongqu.testing.services.postgres import Postgres, start_postgres
from tongqu.testing.services.proxy import FaultProxy
from tongqu.testing.services.rabbitmq import Rabbitmq, start_rabbitmq
from tongqu.testing.services.redis import Redis, start_redis
from tongqu.testing.services.s3 import S3, start_s3
from tongqu.testing.services.samba import Samba, start_samba
from tongqu.testing.services.service import Service
from tongqu.testing.services.small_disk import SmallDisk
from tongqu.testing.services.sshd import Sshd, start_sshd
from tongqu.testing.services.vsftpd import Vsftpd, start_vsftpd
from tongqu.testing.services.webdav import Webdav, start_webdav

__all__ = [
    "S3",
    "Activemq",
    "Clickhouse",
    "Dovecot",
    "Elasticsearch",
    "FaultProxy",
    "ForgettingDisk",
    "Kafka",
    "MariaDB",
    "Mongodb",
    "Mosquitto",
    "Nats",
    "Postgres",
    "Rabbitmq",
    "Redis",
    "Samba",
    "Service",
    "ServiceError",
    "ServiceInstallError",
    "ServiceMissingError",
    "ServiceStartError",
    "SmallDisk",
    "Sshd",
    "Vsftpd",
    "Webdav",
    "ensure",
    "missing",
    "start_activemq",
    "start_clickhouse",
    "start_dovecot",
    "start_elasticsearch",
    "start_kafka",
    "start_mariadb",
    "start_mongodb",
    "start_mosquitto",
    "start_nats",
    "start_postgres",
    "start_rabbitmq",
    "start_redis",
    "start_s3",
    "start_samba",
    "start_sshd",
    "start_vsftpd",
    "start_webdav",
]
