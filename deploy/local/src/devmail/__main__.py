"""`python -m devmail`: SMTP on one port, a page on another, both on this machine only."""

import argparse
import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import uvicorn
from aiosmtpd.smtp import SMTP

from devmail.pages import create_app
from devmail.store import Mailbox

MAX_MAIL_BYTES = 10 * 1024 * 1024


class Handler:
    """Takes everything."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Answer only when the mail is on disk."""
        for recipient in envelope.rcpt_tos:
            self._mailbox.add(sender=envelope.mail_from or "", recipient=recipient, raw=envelope.content)
        return "250 2.0.0 kept"


async def serve(mailbox: Mailbox, stop: asyncio.Event, *, host: str, smtp_port: int, http_port: int) -> None:
    """Until told to stop."""
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(Handler(mailbox), data_size_limit=MAX_MAIL_BYTES, enable_SMTPUTF8=True, loop=loop), host, smtp_port
    )
    config = uvicorn.Config(create_app(mailbox), host=host, port=http_port, log_level="warning", server_header=False)
    page = uvicorn.Server(config)
    serving = asyncio.create_task(page._serve())  # noqa: SLF001 - `serve` would take the signals
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        smtp.close()
        page.should_exit = True
        await serving


async def run(mailbox: Mailbox, *, host: str, smtp_port: int, http_port: int) -> None:
    """Until a signal says stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(mailbox, stop, host=host, smtp_port=smtp_port, http_port=http_port)


def main() -> None:
    """Options from the command line, else from the environment."""
    given = os.environ
    parser = argparse.ArgumentParser(prog="devmail", description=__doc__)
    parser.add_argument("--host", default=given.get("MAILBOX_HOST", "127.0.0.1"))
    parser.add_argument("--smtp-port", type=int, default=int(given.get("MAILBOX_SMTP_PORT", "8125")))
    parser.add_argument("--http-port", type=int, default=int(given.get("MAILBOX_HTTP_PORT", "8126")))
    parser.add_argument("--file", type=Path, default=Path(given.get("MAILBOX_FILE", "var/mail.sqlite")))
    parser.add_argument("--keep", type=int, default=int(given.get("MAILBOX_KEEP", "100000")))
    options = parser.parse_args()
    mailbox = Mailbox(options.file, keep=options.keep)
    try:
        asyncio.run(run(mailbox, host=options.host, smtp_port=options.smtp_port, http_port=options.http_port))
    finally:
        mailbox.close()


if __name__ == "__main__":
    main()
