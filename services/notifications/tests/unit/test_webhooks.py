"""Webhooks: the signature of the specification, and addresses that are never called."""

import base64
import hashlib
import hmac
import ipaddress
import json
from datetime import UTC, datetime

import pytest

from notifications.domain import Facts, Scenario, TargetRefused
from notifications.webhooks import check_url, headers, is_public, new_secret, payload, sign


def test_the_specifications_example_vector() -> None:
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_new_secret_is_long_enough_and_of_the_specifications_form() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert new_secret() != secret


def test_while_a_secret_is_rotated_both_sign() -> None:
    secrets = [new_secret(), new_secret()]
    made = headers(secrets, webhook_id="d-1", timestamp=1772445121, body=b"{}")
    assert (made["webhook-id"], made["webhook-timestamp"]) == ("d-1", "1772445121")
    expected = []
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, b"d-1.1772445121.{}", hashlib.sha256).digest()
        expected.append("v1," + base64.b64encode(digest).decode())
    assert made["webhook-signature"].split(" ") == expected


def test_the_body_is_the_same_at_every_attempt_and_names_no_one() -> None:
    at = datetime(2026, 3, 2, 9, 32, 1, tzinfo=UTC)
    facts = Facts(points=11, change=11, available=131, order="10042", expires_at=datetime(2027, 3, 1, 23, tzinfo=UTC))
    body = payload(Scenario.POINTS_EARNED, shop="corner", member="m-1", at=at, facts=facts)
    assert body == payload(Scenario.POINTS_EARNED, shop="corner", member="m-1", at=at, facts=facts)
    assert json.loads(body) == {
        "type": "points.earned",
        "timestamp": "2026-03-02T09:32:01Z",
        "data": {
            "shop": "corner",
            "member": "m-1",
            "points": 11,
            "change": 11,
            "available": 131,
            "pending": 0,
            "held": 0,
            "owed": 0,
            "order": "10042",
            "shortfall": 0,
            "expires_at": "2027-03-01T23:00:00Z",
        },
    }


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/hook", "https://shop.example:8443/a?b=c", "https://8.8.8.8/", "https://[2606:4700::1]/"],
)
def test_public_addresses_are_called(url: str) -> None:
    check_url(url, private_targets=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/",
        "ftp://shop.example/",
        "shop.example",
        "",
        "https://",
        "https://localhost/",
        "https://localhost./",
        "https://mailbox/",
        "https://a.localhost/",
        "https://db.internal/",
        "https://127.0.0.1/",
        "https://127.9.9.9:8101/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://user:secret@shop.example/",
        "https://shop.example/#part",
        "https://shop.example:0/",
        "https://shop.example:99999/",
        "https://shop.example/a b",
        "https://shop.example/\r\nx: y",
        "https://shöp.example/",
        "https://[::1/",
        "https://shop.example/" + "x" * 2000,
    ],
)
def test_addresses_of_our_own_network_and_nonsense_are_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        check_url(url, private_targets=False)


def test_for_local_use_private_addresses_may_be_called() -> None:
    check_url("http://127.0.0.1:9000/hook", private_targets=True)
    with pytest.raises(TargetRefused):
        check_url("ftp://127.0.0.1/", private_targets=True)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("::ffff:10.0.0.1", False),
        ("2001::1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_public_means_the_open_internet_in_any_spelling(address: str, *, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public
