"""E-mails: headers that cannot be forged, an id that stays, reasons without addresses."""

from datetime import UTC, datetime

import aiosmtplib
import pytest

from notifications.rendering import Rendered
from notifications.results import Rejected, Retry
from notifications.smtp import Mail, _failure, is_address, message_id, mime


def mail(**changes: object) -> Mail:
    standard: dict[str, object] = {
        "delivery": "019cad9f-7c00-7000-8000-000000000001",
        "sender": "points@shop.example",
        "sender_name": "Corner Grocer",
        "reply_to": "help@shop.example",
        "to": "ana@example.com",
        "to_name": "Ana Ñ.",
        "language": "es",
        "words": Rendered("Has ganado 5 puntos", "Hola\n", "<p>Hola</p>"),
        "date": datetime(2026, 3, 2, 9, tzinfo=UTC),
    }
    return Mail(**(standard | changes))  # type: ignore[arg-type]


def test_an_email_as_it_travels() -> None:
    message = mime(mail())
    assert message["Message-ID"] == "<019cad9f-7c00-7000-8000-000000000001@shop.example>"
    assert message["From"] == "Corner Grocer <points@shop.example>"
    assert message["Reply-To"] == "help@shop.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "es"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert b"=?utf-8?" in message.as_bytes()


def test_the_same_delivery_has_the_same_bytes_but_for_its_boundary() -> None:
    one, two = mime(mail()), mime(mail())
    assert one["Message-ID"] == two["Message-ID"] == message_id(mail().delivery, "points@shop.example")
    assert one["Date"] == two["Date"] == "Mon, 02 Mar 2026 09:00:00 +0000"


def test_without_html_it_is_text_alone() -> None:
    assert mime(mail(words=Rendered("s", "t\n", ""))).get_content_type() == "text/plain"


def test_a_name_cannot_make_a_header() -> None:
    message = mime(mail(to_name="Ana\r\nBcc: x@example.com"))
    assert "Bcc" not in message
    assert len(message["To"].addresses) == 1


@pytest.mark.parametrize(
    "address", ["ana@example.com", "a.b+c@sub.example.co.uk", "o'hara@example.com", "ana@localhost"]
)
def test_addresses(address: str) -> None:
    assert is_address(address)
    mime(mail(to=address)).as_bytes()


@pytest.mark.parametrize(
    "address",
    [
        "ana",
        "@example.com",
        "ana@",
        "ana@-example.com",
        "a b@example.com",
        "ana@example.com,bo@example.com",
        "Ana <ana@example.com>",
        "ana@example.com\r\nBcc: x@y",
        "ana@exa mple.com",
        "a@b@c",
        "ana@example..com",
        "x" * 65 + "@example.com",
        "a@" + "b" * 64 + ".com",
    ],
)
def test_what_is_not_one_address(address: str) -> None:
    assert not is_address(address)


def test_refusals_for_good_and_for_now_without_any_address() -> None:
    refused = aiosmtplib.SMTPRecipientsRefused(
        [aiosmtplib.SMTPRecipientRefused(550, "<ana@example.com>: unknown, ask bo@example.com", "ana@example.com")]
    )
    assert _failure(refused, "ana@example.com") == Rejected("address refused, 550: <address>: unknown, ask <address>")
    busy = aiosmtplib.SMTPRecipientsRefused(
        [aiosmtplib.SMTPRecipientRefused(450, "ana@example.com is busy", "ana@example.com")]
    )
    assert _failure(busy, "ana@example.com") == Retry("address refused, 450: <address> is busy")
    assert _failure(aiosmtplib.SMTPDataError(554, "spam"), "ana@example.com") == Rejected("refused, 554: spam")
    assert _failure(aiosmtplib.SMTPDataError(452, "full"), "ana@example.com") == Retry("refused, 452: full")
    assert isinstance(_failure(aiosmtplib.SMTPSenderRefused(550, "no", "x"), "ana@example.com"), Retry)
    assert isinstance(_failure(TimeoutError(), "ana@example.com"), Retry)
