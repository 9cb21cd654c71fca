"""The mailbox: keeps what it is sent, shows it safely, and counts what came twice."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx
import pytest

from devmail.__main__ import serve
from devmail.store import Mailbox
from local.child import free_port
from testkit import wait_until


@dataclass
class Running:
    """A mailbox that runs."""

    smtp_port: int
    http_port: int

    async def send(self, message_id: str, *, subject: str = "Hello", html: str | None = None) -> None:
        """Send an e-mail over SMTP."""
        mail = EmailMessage()
        mail["Message-ID"] = message_id
        mail["From"] = "points@shop.example"
        mail["To"] = "ana@example.com"
        mail["Subject"] = subject
        mail.set_content("The text.")
        if html is not None:
            mail.add_alternative(html, subtype="html")
        await aiosmtplib.send(mail, hostname="127.0.0.1", port=self.smtp_port)

    async def get(self, path: str) -> httpx.Response:
        """Look at the page."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.http_port}") as client:
            return await client.get(path)

    async def answers(self) -> bool:
        """Whether both of its doors are open."""
        with suppress(OSError, httpx.TransportError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.smtp_port)
            writer.close()
            return (await self.get("/api/count")).status_code == 200
        return False


@pytest.fixture
async def devmail(tmp_path: Path) -> AsyncIterator[Running]:
    """A mailbox of its own for each test."""
    running = Running(free_port(), free_port())
    mailbox = Mailbox(tmp_path / "mail.sqlite", keep=100)
    stop = asyncio.Event()
    task = asyncio.create_task(
        serve(mailbox, stop, host="127.0.0.1", smtp_port=running.smtp_port, http_port=running.http_port)
    )
    await wait_until(lambda: running.answers())  # noqa: PLW0108 - mypy infers nothing from the method
    yield running
    stop.set()
    await task
    mailbox.close()


async def test_mail_that_was_sent_is_shown(devmail: Running) -> None:
    await devmail.send("<1@shop.example>", subject="You earned 5 points")
    (mail,) = (await devmail.get("/api/messages")).json()["messages"]
    assert (mail["message_id"], mail["recipient"], mail["subject"]) == (
        "<1@shop.example>",
        "ana@example.com",
        "You earned 5 points",
    )
    assert (await devmail.get(f"/api/messages/{mail['id']}")).json()["text"].strip() == "The text."
    page = await devmail.get("/")
    assert "You earned 5 points" in page.text
    assert "The text." in (await devmail.get(f"/mails/{mail['id']}")).text
    assert "Subject: You earned 5 points" in (await devmail.get(f"/mails/{mail['id']}/raw")).text


async def test_a_mail_that_comes_twice_is_counted_once(devmail: Running) -> None:
    for message_id in ("<1@shop.example>", "<2@shop.example>", "<1@shop.example>"):
        await devmail.send(message_id)
    assert (await devmail.get("/api/count")).json() == {"messages": 3, "distinct_ids": 2}
    mails = (await devmail.get("/api/messages")).json()["messages"]
    assert [mail["repeated"] for mail in mails] == [True, False, False]


async def test_foreign_html_can_do_nothing(devmail: Running) -> None:
    await devmail.send("<1@x>", subject="<script>alert(1)</script>", html="<script>alert(2)</script><b>bold</b>")
    shown = await devmail.get("/mails/1")
    assert "<script>" not in shown.text
    assert '<iframe sandbox="" src="/mails/1/html"' in shown.text
    html = await devmail.get("/mails/1/html")
    assert html.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert html.headers["x-content-type-options"] == "nosniff"
    raw = await devmail.get("/mails/1/raw")
    assert raw.headers["content-type"].startswith("text/plain")


async def test_what_is_not_there_is_not_found(devmail: Running) -> None:
    for path in ("/mails/9", "/mails/9/html", "/mails/9/raw", "/api/messages/9"):
        assert (await devmail.get(path)).status_code == 404


def test_a_restart_keeps_mail_and_the_oldest_go_first(tmp_path: Path) -> None:
    file = tmp_path / "mail.sqlite"
    mailbox = Mailbox(file, keep=500)
    for number in range(1000):
        mailbox.add(sender="a@x", recipient="b@x", raw=f"Message-ID: <{number}@x>\nSubject: {number}\n\nx".encode())
    mailbox.close()
    mailbox = Mailbox(file, keep=500)
    assert [mail.subject for mail in mailbox.page(limit=2)] == ["999", "998"]
    assert mailbox.tally() == (1000, 0)
    mailbox.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM mail").fetchone() == (500,)
    connection.close()


def test_mail_that_makes_no_sense_is_kept_too(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path / "mail.sqlite", keep=10)
    mailbox.add(sender="", recipient="b@x", raw=b"\xff\xfe\x00 no headers at all")
    mailbox.add(sender="", recipient="b@x", raw=b"Subject: =?utf-9?q?=ff?=\nMessage-ID: <<>\n\n")
    assert len(mailbox.page(limit=10)) == 2
    mailbox.close()
