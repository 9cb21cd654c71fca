"""E-mails in one bounded SQLite file, so that a restart keeps them and a flood does not fill the disk."""

import email
import email.policy
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mail (
    id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, received_at TEXT NOT NULL, sender TEXT NOT NULL,
    recipient TEXT NOT NULL, subject TEXT NOT NULL, repeated INTEGER NOT NULL, raw BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS mail_message_id ON mail (message_id);
CREATE INDEX IF NOT EXISTS mail_recipient ON mail (recipient);
CREATE TABLE IF NOT EXISTS tally (
    one INTEGER PRIMARY KEY CHECK (one = 1), received INTEGER NOT NULL, repeated INTEGER NOT NULL);
INSERT OR IGNORE INTO tally VALUES (1, 0, 0);
"""

_DROP_AT_ONCE = 1_000
"""Mails over the limit before the oldest are dropped: not one deletion for each mail that comes."""

_COLUMNS = "id, message_id, received_at, sender, recipient, subject, repeated, length(raw)"


@dataclass(frozen=True, slots=True)
class Mail:
    """One e-mail as it was received."""

    id: int
    message_id: str
    received_at: str
    sender: str
    recipient: str
    subject: str
    repeated: bool
    """An e-mail of the same Message-ID had been received before."""
    size: int

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Self:
        return cls(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]), row[7])


class Mailbox:
    """The file."""

    def __init__(self, path: Path, *, keep: int) -> None:
        """`keep`: how many e-mails at most; the oldest go first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._keep = keep
        self._file = sqlite3.connect(path, isolation_level=None)
        # In this mode a killed process loses nothing; only a machine that loses power could lose the last mails.
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(self, *, sender: str, recipient: str, raw: bytes) -> None:
        """Keep an e-mail; it is on disk when this returns."""
        headers = _HEADERS.parsebytes(raw)
        message_id, subject = _header(headers, "Message-ID"), _header(headers, "Subject")
        self._file.execute("BEGIN IMMEDIATE")
        repeated = message_id != "" and bool(
            self._file.execute(
                "SELECT EXISTS (SELECT 1 FROM mail WHERE message_id = ? AND recipient = ?)", [message_id, recipient]
            ).fetchone()[0]
        )
        cursor = self._file.execute(
            "INSERT INTO mail (message_id, received_at, sender, recipient, subject, repeated, raw)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                message_id,
                datetime.now(UTC).isoformat(timespec="milliseconds"),
                sender,
                recipient,
                subject,
                repeated,
                raw,
            ],
        )
        self._file.execute("UPDATE tally SET received = received + 1, repeated = repeated + ?", [int(repeated)])
        newest = cursor.lastrowid or 0
        if newest % _DROP_AT_ONCE == 0:
            self._file.execute("DELETE FROM mail WHERE id <= ?", [newest - self._keep])
        self._file.execute("COMMIT")

    def page(self, *, text: str = "", to: str = "", before: int | None = None, limit: int) -> list[Mail]:
        """E-mails, newest first; those whose subject or recipient holds a text, or that went to an address."""
        rows = self._file.execute(
            f"SELECT {_COLUMNS} FROM mail WHERE (:before IS NULL OR id < :before) AND (:to = '' OR recipient = :to)"  # noqa: S608
            " AND (:text = '' OR instr(lower(subject), :text) OR instr(lower(recipient), :text))"
            " ORDER BY id DESC LIMIT :limit",
            {"before": before, "to": to, "text": text.lower(), "limit": limit},
        )
        return [Mail.of(row) for row in rows]

    def raw(self, mail_id: int) -> bytes | None:
        """An e-mail as it came over the wire; None when it is not, or no longer, here."""
        row = self._file.execute("SELECT raw FROM mail WHERE id = ?", [mail_id]).fetchone()
        return None if row is None else bytes(row[0])

    def get(self, mail_id: int) -> Mail | None:
        """One e-mail without its content."""
        row = self._file.execute(f"SELECT {_COLUMNS} FROM mail WHERE id = ?", [mail_id]).fetchone()  # noqa: S608
        return None if row is None else Mail.of(row)

    def tally(self) -> tuple[int, int]:
        """How many have been received in all, and how many of them were repeats; also of those dropped since."""
        received, repeated = self._file.execute("SELECT received, repeated FROM tally").fetchone()
        return int(received), int(repeated)

    def clear(self) -> None:
        """Forget everything."""
        self._file.executescript("DELETE FROM mail; UPDATE tally SET received = 0, repeated = 0;")


_HEADERS = BytesHeaderParser(policy=email.policy.compat32)
"""Reads no body, and headers ten times as fast as the newer policy does."""


def _header(headers: Message, name: str) -> str:
    """A header's value, whatever state it is in: what a mailbox shows best is what is wrong with a mail."""
    value = str(headers.get(name, ""))
    with suppress(ValueError, LookupError, MessageError):
        value = str(make_header(decode_header(value)))
    return " ".join(value.split())[:1_000].encode("utf-8", "replace").decode()


def parse(raw: bytes) -> EmailMessage:
    """An e-mail's parts."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, kind: str) -> str | None:
    """The text or the HTML of an e-mail; None where it has none that can be read."""
    try:
        part = message.get_body((kind,))
        content = None if part is None else part.get_content()
    except (KeyError, LookupError, ValueError, AttributeError):
        return None
    return content if isinstance(content, str) else None
