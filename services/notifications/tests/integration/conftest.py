"""The service with a real database, broker, mail server and webhook receiver, and what tests ask of them."""

import asyncio
import email
import email.policy
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP
from pydantic import SecretStr

from chassis import Database, Received, Runtime, UseCase
from chassis.messages import Raw
from contracts import Event, encode, topics
from contracts.ledger import Buckets, EntryCause, LotChange, PointsChanged
from contracts.programmes import ProgrammeChanged
from local.child import free_port
from notifications import consumers, usecases
from notifications.app import build
from notifications.settings import NotificationsSettings
from testkit import wait_until
from testkit.conformance import conforming
from testkit.tokens import ALL_SCOPES, Tokens
from testkit.webhooks import Receiver

SHOP = "corner"

RECEIVED = Received(Raw("ledger", 0, 0, None, (), None), None)
"""Of an event that came without a broker."""


@dataclass
class MailServer:
    """A real SMTP server that keeps what it is sent, and can be told to answer otherwise."""

    port: int = field(default_factory=free_port)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    connections: int = 0
    answers: dict[str, list[str]] = field(default_factory=dict)
    """Answers to the DATA of the next mails to an address; then it takes them."""
    after: Callable[[], None] | None = None
    """Called in the server's thread once a mail has been kept, before the client is told so."""
    _controller: Controller | None = None

    def start(self) -> None:
        self._controller = _Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.startswith("nobody@"):
            return f"550 5.1.1 <{address}>: no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        address = envelope.rcpt_tos[0]
        if self.answers.get(address):
            return self.answers[address].pop(0)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        self.recipients.append(address)
        if self.after is not None:
            self.after()
        return "250 kept"

    def ids(self) -> list[str]:
        return [str(mail["Message-ID"]) for mail in self.mails]

    def subjects(self, to: str | None = None) -> list[str]:
        return [
            str(mail["Subject"])
            for mail, recipient in zip(self.mails, self.recipients, strict=True)
            if to in (None, recipient)
        ]


class _Controller(Controller):
    def __init__(self, mail_server: MailServer, **options: Any) -> None:
        super().__init__(mail_server, **options)
        self._mail_server = mail_server

    def factory(self) -> SMTP:
        self._mail_server.connections += 1
        return super().factory()


@dataclass
class Ledger:
    """A real HTTP server that answers for the ledger's statement, and can be told not to."""

    port: int = field(default_factory=free_port)
    entries: list[PointsChanged] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Member and number behind which entries were asked for."""
    odd: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By number: what the ledger says of an entry instead."""
    positions: dict[str, int] = field(default_factory=dict)
    """Of entries in the ledger's log, by their hashes; others stand at their numbers."""
    status: int = 200
    _server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        ledger = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                _, _, _, shop, _, member, _ = url.path.split("/")
                ledger.asked.append((member, int(query["after_seq"])))
                body = json.dumps({"entries": ledger.lines(shop, member, query), "next": None}).encode()
                self.send_response(ledger.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def lines(self, shop: str, member: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """As `GET …/entries?after_seq=` of the ledger answers: oldest first, no account, no epoch, no entry's id."""
        lines = []
        for entry in sorted(self.entries, key=lambda each: each.seq):
            if (entry.shop, entry.member, entry.asset) == (shop, member, query["asset"]):
                line = entry.model_dump(mode="json", exclude={"shop", "member", "asset", "account", "epoch", "entry"})
                line |= {"type": "entry", "memo": None, "before": {}, "after": line.pop("balances")}
                line["position"] = self.positions.get(entry.hash, entry.seq)
                lines.append(line | self.odd.get(entry.seq, {}))
        return [line for line in lines if line["seq"] > int(query["after_seq"])][: int(query["limit"])]

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@dataclass
class World:
    """The service, and what happens around it."""

    settings: NotificationsSettings
    tokens: Tokens
    mail: MailServer
    receiver: Receiver
    ledger: Ledger
    _producer: AIOKafkaProducer = None
    _connection: asyncpg.Connection = None
    _http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(event_hooks=conforming()))
    """One for all requests: a client reads its certificates when it is made, which takes longer than the request."""
    _seqs: dict[str, int] = field(default_factory=dict)

    async def open(self) -> None:
        self._connection = await asyncpg.connect(self.settings.database_url.get_secret_value())

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
        await self._connection.close()
        await self._http.aclose()

    @asynccontextmanager
    async def running(self, mode: str = "all", **changes: Any) -> AsyncIterator[Runtime]:
        """The service in this process, ready; ends gracefully."""
        settings = self.settings.model_copy(update=changes)
        runtime, stop = Runtime(build(settings)), asyncio.Event()
        task = asyncio.create_task(runtime.run(mode, stop))
        try:
            await wait_until(lambda: task.done() or self._answers(settings), timeout_seconds=30, what="readiness")
            yield runtime
        finally:
            stop.set()
            await task

    async def _answers(self, settings: NotificationsSettings) -> bool:
        try:
            return (await self._http.get(f"http://127.0.0.1:{settings.http_port}/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        shop: str = SHOP,
        key: str | None = None,
        as_shop: str = "*",
        scope: str = ALL_SCOPES,
    ) -> httpx.Response:
        """A request to the running service, with every right unless told otherwise."""
        headers = self.tokens.headers(scope, as_shop)
        if key is not None:
            headers["idempotency-key"] = key
        url = f"http://127.0.0.1:{self.settings.http_port}/v1/shops/{shop}{path}"
        return await self._http.request(method, url, json=body, headers=headers)

    async def put(self, path: str, body: Any, **more: Any) -> Any:
        """A PUT that must succeed."""
        response = await self.ask("PUT", path, body, **more)
        assert response.status_code == 200, response.text
        return response.json()

    async def get(self, path: str, **more: Any) -> Any:
        """A GET that must succeed."""
        response = await self.ask("GET", path, **more)
        assert response.status_code == 200, response.text
        return response.json()

    async def _send(self, topic: str, value: bytes, key: str, headers: dict[str, bytes]) -> Awaitable[Any]:
        if self._producer is None:
            self._producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka_bootstrap_servers, acks="all")
            await self._producer.start()
        sent: Awaitable[Any] = await self._producer.send(topic, value, key=key.encode(), headers=list(headers.items()))
        return sent

    async def publish(self, *events: Event, headers: dict[str, bytes] | None = None) -> None:
        """Publish events in order; all are kept when this returns."""
        sent = []
        for event in events:
            topic = topics.PROGRAMMES if isinstance(event, ProgrammeChanged) else topics.LEDGER
            all_headers = {"ce_type": event.type.encode(), **(headers or {})}
            sent.append(await self._send(topic.name, encode(event), event.key, all_headers))
        await asyncio.gather(*sent)

    async def publish_raw(self, value: bytes, *, key: str = f"{SHOP}/m-1", kind: str = "points-changed") -> None:
        await (await self._send(topics.LEDGER.name, value, key, {"ce_type": kind.encode()}))

    def programme(self, shop: str = SHOP, revision: int = 1, **changes: Any) -> ProgrammeChanged:
        """A shop's programme."""
        standard = {"on": True, "zone": "Europe/Madrid", "currency": "EUR"}
        return ProgrammeChanged(shop=shop, revision=revision, **(standard | changes))

    def entry(
        self,
        member: str = "m-1",
        kind: str = "award",
        change: int = 10,
        *,
        shop: str = SHOP,
        seq: int | None = None,
        epoch: int = 1,
        expires_at: datetime | None = None,
        lot: str | None = None,
        remaining: int | None = None,
        **changes: Any,
    ) -> PointsChanged:
        """The next entry of a member's account, or the one of that number."""
        account = f"{shop}.{member}"
        if seq is None:
            seq = self._seqs[account] = self._seqs.get(account, 0) + 1
        now = datetime.now(UTC)
        standard: dict[str, Any] = {
            "at": now,
            "recorded_at": now,
            "source": "rules",
            "posting": f"{member}/{seq}",
            "order": f"o-{seq}",
            "cause": EntryCause(rule="everything-earns", rule_version=1),
            "changes": Buckets(available=change),
            "system": {"issued": -change},
            "balances": Buckets(available=100 + seq),
            "hash": f"{epoch}-{seq}",
        }
        if lot is not None:
            standard["lots"] = (
                LotChange(
                    lot=lot,
                    change=change,
                    remaining=change if remaining is None else remaining,
                    activates_at=changes.pop("activates_at", now),
                    expires_at=expires_at,
                ),
            )
        return PointsChanged(
            shop=shop,
            member=member,
            account=changes.pop("account", account),
            epoch=epoch,
            seq=seq,
            entry=f"e-{epoch}-{seq}",
            kind=kind,
            **(standard | changes),
        )

    async def query(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows as the app role sees them; single columns as values."""
        rows = await self._connection.fetch(statement, *arguments)
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    async def consumed(self, count: int, consumer: str = "ledger") -> None:
        """Until so many messages of a topic have been taken."""

        async def taken() -> bool:
            (total,) = await self.query(
                "SELECT coalesce(sum(next), 0)::int FROM consumer_offset WHERE consumer = $1", consumer
            )
            return bool(total >= count)

        await wait_until(taken, what=f"{count} messages of {consumer}")

    async def open_shop(self, *members: str, shop: str = SHOP, **programme: Any) -> None:
        """A known shop whose members have left an address each."""
        await self.publish(self.programme(shop, **programme))
        await wait_until(lambda: self.query("SELECT shop FROM shop WHERE shop = $1", shop), what="the shop")
        for member in members:
            body = {"email": f"{member}@example.com", "name": member.upper()}
            await self.put(f"/members/{member}/contact", body, shop=shop)

    async def open_shop_directly(self, *members: str) -> None:
        """The same, where no consumer runs."""
        programme = self.programme()
        await self.execute(usecases.learn_programmes, consumers.learn(programme, RECEIVED))
        for member in members:
            await self.put(f"/members/{member}/contact", {"email": f"{member}@example.com"})

    async def tell(self, *entries: PointsChanged) -> None:
        """Let entries take effect without a broker."""
        await self.execute(usecases.tell, *(consumers.tell(entry, RECEIVED) for entry in entries))

    async def execute(self, usecase: UseCase, *commands: Any) -> Any:
        """A use case in a transaction of its own."""
        database = self.database()
        answers = await database.execute(usecase, commands)
        await database.close()
        return answers

    def database(self) -> Database:
        return Database(self.settings)


def settings_for(
    database_url: str, bootstrap_servers: str, tokens: Tokens, mail: MailServer, ledger: Ledger, folder: Path
) -> NotificationsSettings:
    """Quick where production is patient."""
    token_file = folder / "notifications.token"
    token_file.write_text(tokens.mint("ledger:read", sub="notifications"))
    return NotificationsSettings(
        database_url=database_url,
        kafka_bootstrap_servers=bootstrap_servers,
        http_port=free_port(),
        jwks_file=tokens.jwks_file,
        log_format="text",
        ledger_url=f"http://127.0.0.1:{ledger.port}",
        service_token_file=token_file,
        session_timeout_ms=6_000,
        smtp_host="127.0.0.1",
        smtp_port=mail.port,
        smtp_sender="points@shop.example",
        smtp_timeout_seconds=10,
        webhook_timeout_seconds=10,
        webhook_private_targets=True,
        send_every_seconds=0.05,
        lease_seconds=1,
    )


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A shop's system that listens."""
    with Receiver() as server:
        yield server


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger that answers for what it is given."""
    server = Ledger()
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def world(
    service_database: Callable[[str], Awaitable[Any]],
    topics: str,
    tokens: Tokens,
    mail: MailServer,
    receiver: Receiver,
    ledger: Ledger,
    tmp_path: Path,
) -> AsyncIterator[World]:
    """The service with an empty database and empty topics, not running yet."""
    database = await service_database("notifications")
    settings = settings_for(database.url, topics, tokens, mail, ledger, tmp_path)
    made = World(settings, tokens, mail, receiver, ledger)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def desk(
    service_database: Callable[[str], Awaitable[Any]],
    tokens: Tokens,
    mail: MailServer,
    receiver: Receiver,
    ledger: Ledger,
    tmp_path: Path,
) -> AsyncIterator[World]:
    """The same without a broker, for the modes that need none."""
    database = await service_database("notifications")
    settings = settings_for(database.url, "127.0.0.1:1", tokens, mail, ledger, tmp_path)
    made = World(settings, tokens, mail, receiver, ledger)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def put_back(service_database: Callable[[str], Awaitable[Any]], desk: World) -> AsyncIterator[World]:
    """The same, with a database that knows nothing yet of what the other one has told."""
    database = await service_database("notifications")
    world = replace(desk, settings=desk.settings.model_copy(update={"database_url": SecretStr(database.url)}))
    await world.open()
    yield world
    await world.close()
