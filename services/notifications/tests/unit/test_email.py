"""E-mails: headers that cannot be forged, an id that stays, reasons without addresses."""

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage

import aiosmtplib
import pytest

from notifications.rendering import Rendered
from notifications.results import Rejected, Retry
from notifications.smtp import Mail, _failure, is_address, message_id
from notifications.smtp import mime as written


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


def mime(wanted: Mail) -> EmailMessage:
    """An e-mail as its receiver reads it."""
    message = email.message_from_bytes(written(wanted), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_an_email_as_it_travels() -> None:
    message = mime(mail())
    assert message["Message-ID"] == "<019cad9f-7c00-7000-8000-000000000001@shop.example>"
    assert message["From"] == "Corner Grocer <points@shop.example>"
    assert message["Reply-To"] == "help@shop.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "es"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["To"].addresses[0].display_name == "Ana Ñ."
    assert written(mail()).isascii()
    assert [part.get_content() for part in message.iter_parts()] == ["Hola\n", "<p>Hola</p>"]


def test_the_same_delivery_has_the_same_bytes() -> None:
    assert written(mail()) == written(mail())
    assert mime(mail())["Message-ID"] == message_id(mail().delivery, "points@shop.example")
    assert mime(mail())["Date"] == "Mon, 02 Mar 2026 09:00:00 +0000"


def test_lines_end_and_are_as_long_as_smtp_allows() -> None:
    lines = written(mail(words=Rendered("s " * 2000, "t" * 5000, "<p>" * 5000))).split(b"\r\n")
    assert all(len(line) < 998 and b"\n" not in line and b"\r" not in line for line in lines)


def test_without_html_it_is_text_alone() -> None:
    assert mime(mail(words=Rendered("s", "t\n", ""))).get_content_type() == "text/plain"


@pytest.mark.parametrize(
    "poison", ["Ana\r\nBcc: x@example.com", "Ana\nBcc: x", "A\x00\x0b\u2028Bcc: x", 'a, b <c@d>, "e']
)
def test_a_name_or_a_subject_cannot_make_a_header(poison: str) -> None:
    message = mime(mail(to_name=poison, sender_name=poison, words=Rendered(poison, "t\n", "")))
    assert "Bcc" not in message
    assert [each.addr_spec for each in message["To"].addresses] == ["ana@example.com"]
    assert [each.addr_spec for each in message["From"].addresses] == ["points@shop.example"]


def test_a_long_subject_of_any_letters_arrives_whole() -> None:
    subject = "Ñandú " * 30 + "fin"
    assert mime(mail(words=Rendered(subject, "t\n", "")))["Subject"] == subject


@pytest.mark.parametrize(
    "address",
    ["ana@example.com", "a.b+c@sub.example.co.uk", "o'hara@example.com", "ana@localhost", "a@xn--exmple-cua.com"],
)
def test_addresses(address: str) -> None:
    assert is_address(address)
    assert mime(mail(to=address))["To"].addresses[0].addr_spec == address


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
        "jürgen@example.com",  # few servers take it, and none without SMTPUTF8
        "ａ@example.com",
        "\u202ea@example.com",
        "a@exämple.com",  # its name in ASCII is taken: xn--exmple-cua.com
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


def test_a_reason_can_be_stored_whatever_the_server_says() -> None:
    words = b"bo\xeete\x00 inconnue\r\n".decode("utf-8", "surrogateescape")  # as the SMTP client hands it over
    assert _failure(aiosmtplib.SMTPDataError(554, words), "ana@example.com") == Rejected("refused, 554: bo te inconnue")
