"""E-mail: a message's words as MIME with an id that stays, sent over SMTP connections that are kept."""

import asyncio
import re
from base64 import encodebytes
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.header import Header
from email.utils import format_datetime, formataddr
from types import TracebackType
from typing import Final, Literal, Self

import aiosmtplib

from notifications.rendering import Rendered
from notifications.results import Rejected, Result, Retry, Sent, Unreachable

MAX_ADDRESS = 254
"""Characters (RFC 5321)."""

MAX_REASON = 200

MAX_LINE = 900
"""Characters of a header on one line (RFC 5322 allows 998 with its name)."""

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_LOCAL: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]+"
_ADDRESS: Final = re.compile(rf"{_LOCAL}@{_LABEL}(?:\.{_LABEL})*")
_ANY_ADDRESS: Final = re.compile(r"<?[^\s<>]+@[^\s<>]+>?")

TlsMode = Literal["off", "if_offered", "starttls", "tls"]


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail, ready to go."""

    delivery: str
    """Its id for ever: a repeat after a crash has the same, and so the same Message-ID."""
    sender: str
    sender_name: str | None
    reply_to: str | None
    to: str
    to_name: str | None
    language: str
    words: Rendered
    date: datetime


def is_address(value: str) -> bool:
    """Whether a string is plausibly one e-mail address; certainly nothing that could be more than one header field."""
    return len(value) <= MAX_ADDRESS and _ADDRESS.fullmatch(value) is not None and len(value.rpartition("@")[0]) <= 64


def message_id(delivery: str, sender: str) -> str:
    """The Message-ID of a delivery: the same at every attempt."""
    return f"<{delivery}@{sender.rpartition('@')[2]}>"


def mime(mail: Mail) -> bytes:
    """The e-mail as it travels: the same bytes at every attempt.

    Written by hand, since its form is always the same and Python's e-mail package takes most of a sender's time for it.
    Bodies are Base64, so that whatever they hold is neither a boundary nor too long a line.
    """
    boundary = f"=_{mail.delivery}"
    fields = [
        ("Message-ID", message_id(mail.delivery, mail.sender)),
        ("Date", format_datetime(mail.date)),
        ("From", _address(mail.sender, mail.sender_name)),
        ("To", _address(mail.to, mail.to_name)),
        *([("Reply-To", _address(mail.reply_to, None))] if mail.reply_to else []),
        ("Subject", _line(mail.words.subject)),
        ("Content-Language", mail.language),
        ("Auto-Submitted", "auto-generated"),  # keeps holiday replies away (RFC 3834)
        ("MIME-Version", "1.0"),
    ]
    text = _part("plain", mail.words.text)
    if not mail.words.html:
        return _fields(fields) + text
    html = _part("html", mail.words.html)
    mark = f"--{boundary}".encode()
    opening = _fields([*fields, ("Content-Type", f'multipart/alternative; boundary="{boundary}"')])
    return b"\r\n".join([opening, mark, text + mark, html + mark + b"--", b""])


def _part(kind: str, words: str) -> bytes:
    fields = [("Content-Type", f'text/{kind}; charset="utf-8"'), ("Content-Transfer-Encoding", "base64")]
    return _fields(fields) + b"\r\n" + encodebytes(words.encode()).replace(b"\n", b"\r\n")


def _fields(fields: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")


def _address(address: str, name: str | None) -> str:
    plain = " ".join((name or "").split())
    if not plain:
        return address
    if plain.isascii() and plain.isprintable():
        return formataddr((plain, address))
    return f"{_encoded(plain)} <{address}>"


def _line(value: str) -> str:
    """A header's value on one line, whatever it holds."""
    line = " ".join(value.split())
    return line if line.isascii() and line.isprintable() and len(line) < MAX_LINE else _encoded(line)


def _encoded(value: str) -> str:
    return Header(value, "utf-8").encode(linesep="\r\n")


class Mailer:
    """Sends e-mails over a few connections, each used for many."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: TlsMode = "if_offered",
        user: str | None = None,
        password: str | None = None,
        connections: int,
        timeout_seconds: float,
        mails_per_connection: int = 500,
        idle_seconds: float = 20.0,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._user = user
        self._password = password
        self._timeout_seconds = timeout_seconds
        self._mails_per_connection = mails_per_connection
        self._idle_seconds = idle_seconds
        self._free: list[_Connection] = []
        self._slots = asyncio.Semaphore(connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections that are free."""
        while self._free:
            await self._free.pop().close()

    async def send(self, mail: Mail) -> Result:
        """One attempt; on a kept connection that turns out to be dead, a second one on a fresh one."""
        try:
            body = mime(mail)
        except (
            ValueError,
            UnicodeError,
            MessageError,
        ) as error:  # what the e-mail package says of an impossible header
            return Rejected(f"cannot be written as an e-mail: {type(error).__name__}")
        async with self._slots:
            for fresh in (False, True):
                try:
                    async with self._connection(fresh=fresh) as connection:
                        kept = connection.mails > 0
                        connection.mails += 1
                        try:
                            async with asyncio.timeout(self._timeout_seconds):
                                await connection.client.sendmail(mail.sender, [mail.to], body)
                        except (aiosmtplib.SMTPServerDisconnected, ConnectionError) as error:
                            if kept and not fresh:
                                continue
                            return Retry(_reason("disconnected", error, mail.to))
                        except (aiosmtplib.SMTPException, TimeoutError, OSError) as error:
                            connection.broken = not isinstance(error, _ANSWERS)
                            return _failure(error, mail.to)
                        connection.broken = False
                        return Sent()
                except _CannotConnect as error:
                    return Unreachable(error.reason)
        raise AssertionError("the second try always answers")

    @asynccontextmanager
    async def _connection(self, *, fresh: bool) -> AsyncIterator["_Connection"]:
        connection = None if fresh else await self._kept()
        if connection is None:
            connection = await self._connect()
        # Until proven otherwise, so that a cancelled send's connection, in the middle of a dialogue, is not used again.
        connection.broken = True
        try:
            yield connection
        finally:
            worn = connection.mails >= self._mails_per_connection or not connection.client.is_connected
            if connection.broken or worn:
                await connection.close()
            else:
                connection.free_since = asyncio.get_running_loop().time()
                self._free.append(connection)

    async def _kept(self) -> "_Connection | None":
        while self._free:
            connection = self._free.pop()
            idle = asyncio.get_running_loop().time() - connection.free_since
            if idle < self._idle_seconds and connection.client.is_connected:
                return connection
            await connection.close()
        return None

    async def _connect(self) -> "_Connection":
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            timeout=self._timeout_seconds,
            use_tls=self._tls == "tls",
            start_tls={"off": False, "if_offered": None, "starttls": True, "tls": False}[self._tls],
            username=self._user,
            password=self._password,
        )
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            client.close()
            raise _CannotConnect(f"mail server: {type(error).__name__}") from error
        return _Connection(client)


_ANSWERS: Final = (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused)
"""The server has answered, so the dialogue is in order and the connection can be used again."""


class _CannotConnect(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class _Connection:
    client: aiosmtplib.SMTP
    mails: int = 0
    broken: bool = False
    free_since: float = 0.0

    async def close(self) -> None:
        try:
            if self.client.is_connected and not self.broken:
                async with asyncio.timeout(1):
                    await self.client.quit()
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            pass  # it was to be closed anyway
        finally:
            self.client.close()


def _failure(error: Exception, to: str) -> Result:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refusal = error.recipients[0]
        return _by_code(refusal.code, "address refused", refusal, to)
    if isinstance(error, aiosmtplib.SMTPSenderRefused):
        return Retry(_reason("sender refused", error, to))  # our own set-up, not this message
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _by_code(error.code, "refused", error, to)
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return Rejected(_reason("not supported by the mail server", error, to))
    return Retry(_reason("failed", error, to))


def _by_code(code: int, what: str, error: Exception, to: str) -> Result:
    reason = _reason(f"{what}, {code}", error, to)
    return Rejected(reason) if 500 <= code < 600 else Retry(reason)


def _reason(what: str, error: Exception, to: str) -> str:
    """A server's words without any address, and without what no column can hold: reasons are stored."""
    words = str(getattr(error, "message", "") or type(error).__name__)
    words = "".join(each if each.isprintable() else " " for each in words)  # NUL; bytes that are not UTF-8
    clean = _ANY_ADDRESS.sub("<address>", words.replace(to, "a@b"))
    return f"{what}: {' '.join(clean.split())}"[:MAX_REASON]
