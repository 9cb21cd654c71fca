"""The parts of the system and how they hang together: this page reads like its diagram."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from local import access, databases, gateway, keys
from local.child import Command, listens
from local.kafka import Kafka
from local.paths import ROOT, SERVICES
from local.postgres import Postgres
from local.settings import LocalSettings
from local.tokens import SERVICE_SCOPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the system."""

    command: Command
    ready: Callable[[], bool]
    where: str
    """Its address, for the status page."""

    @property
    def name(self) -> str:
        """What it is called in status, logs and faults."""
        return self.command.name


def postgres(settings: LocalSettings) -> Postgres:
    """The database server."""
    return Postgres(
        folder=settings.var / "postgres",
        port=settings.postgres_port,
        shared_buffers=settings.postgres_shared_buffers,
    )


def kafka(settings: LocalSettings) -> Kafka:
    """The broker."""
    broker = Kafka(
        folder=settings.var / "broker", port=settings.kafka_port, controller_port=settings.kafka_controller_port
    )
    if not settings.kafka_guarded:
        return broker
    passwords = {user: keys.kafka_password(settings, user) for user in access.USERS}
    return replace(broker, services_port=settings.kafka_services_port, passwords=passwords)


def kafka_access(settings: LocalSettings, user: str) -> dict[str, Any]:
    """How somebody with a name reaches the broker: arguments of aiokafka's clients."""
    broker = kafka(settings)
    if broker.services_port is None:
        return {"bootstrap_servers": broker.bootstrap_servers}
    return {"bootstrap_servers": broker.services_servers, **access.named(user, broker.passwords[user])}


def engines(settings: LocalSettings) -> tuple[Part, ...]:
    """What the services stand on."""
    database, broker = postgres(settings), kafka(settings)
    return (
        Part(command=database.command(), ready=database.ready, where=f"127.0.0.1:{database.port}"),
        Part(command=broker.command(), ready=broker.ready, where=broker.bootstrap_servers),
    )


def applications(settings: LocalSettings) -> tuple[Part, ...]:
    """What runs on them: the mailbox, the services, the gateway before them."""
    return (_mailbox(settings), *(_service(settings, name) for name in SERVICES), _gateway(settings))


def service_port(settings: LocalSettings, service: str) -> int:
    """The port of a service behind the gateway."""
    port: int = getattr(settings, f"{service}_port")
    return port


def service_environment(settings: LocalSettings, service: str) -> Mapping[str, str]:
    """What a service is told here; anything else about it may be set in the environment or `.env` by its own names."""
    database = databases.service_database(
        postgres(settings).url, service=service, password=keys.database_password(settings)
    )
    told = {
        "DATABASE_URL": database.url,
        "MIGRATION_DATABASE_URL": database.migration_url,
        **_kafka_environment(settings, service),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(service_port(settings, service)),
        "JWKS_FILE": str(keys.jwks_file(settings)),
        "INSTANCE": f"{service}-local",
        # A service is one process here, which wakes its relay itself; the relay's own looks are for what others record.
        "RELAY_IDLE_MS": "1000",
    }
    if service == "ledger":
        # The books are replayed round and round; five hundred accounts a minute would keep a laptop at work for ever.
        told["REPLAY_BATCH_SIZE"] = "50"
        told["SEAL_CHECK_ROWS"] = "1000"
        told["SEAL_KEY_FILE"] = str(keys.seal_key_file(settings.keys))
        told["SEAL_FOLDER"] = str(settings.var / "seals")
    if service in SERVICE_SCOPES:
        told["LEDGER_URL"] = f"http://127.0.0.1:{settings.ledger_port}"
        told["SERVICE_TOKEN_FILE"] = str(keys.service_token_file(settings, service))
    if service == "notifications":
        told["SMTP_HOST"] = "127.0.0.1"
        told["SMTP_PORT"] = str(settings.mailbox_smtp_port)
        told["SMTP_SENDER"] = "points@demo.example"
        told["WEBHOOK_PRIVATE_TARGETS"] = "true"  # receivers on this machine are all that there are here
    named = {f"{service.upper()}_{name}": value for name, value in told.items()}
    return {name: os.environ.get(name, value) for name, value in named.items()}


def _kafka_environment(settings: LocalSettings, service: str) -> Mapping[str, str]:
    broker = kafka(settings)
    if broker.services_port is None:
        return {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    return {
        "KAFKA_BOOTSTRAP_SERVERS": broker.services_servers,
        "KAFKA_SECURITY": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_USER": service,
        "KAFKA_PASSWORD": broker.passwords[service],
    }


def _service(settings: LocalSettings, service: str) -> Part:
    port = service_port(settings, service)
    return Part(
        command=Command(
            name=service,
            argv=[sys.executable, "-m", service, "all"],
            environment=service_environment(settings, service),
            directory=ROOT,
        ),
        ready=partial(_answers, f"http://127.0.0.1:{port}/ready"),
        where=f"http://127.0.0.1:{port}",
    )


def _mailbox(settings: LocalSettings) -> Part:
    return Part(
        command=Command(
            name="mailbox",
            argv=[sys.executable, "-m", "devmail"],
            environment={
                "MAILBOX_HOST": "127.0.0.1",
                "MAILBOX_SMTP_PORT": str(settings.mailbox_smtp_port),
                "MAILBOX_HTTP_PORT": str(settings.mailbox_http_port),
                "MAILBOX_FILE": str(settings.var / "mailbox.sqlite"),
            },
            directory=ROOT,
        ),
        ready=lambda: listens(settings.mailbox_smtp_port) and listens(settings.mailbox_http_port),
        where=f"http://127.0.0.1:{settings.mailbox_http_port}",
    )


def _gateway(settings: LocalSettings) -> Part:
    return Part(
        command=gateway.command(settings),
        ready=partial(_answers, f"http://127.0.0.1:{settings.gateway_admin_port}/ready"),
        where=f"http://127.0.0.1:{settings.gateway_port}",
    )


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as response:  # noqa: S310 - an address of ours
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
