"""How brokers are reached: what the settings say, in aiokafka's words."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chassis.kafka import brokers
from chassis.settings import ServiceSettings
from testkit.probe import settings_of_nobody


def settings(**given: Any) -> ServiceSettings:
    return settings_of_nobody(kafka_bootstrap_servers="kafka:9092", **given)


def test_without_security_only_the_address_is_told() -> None:
    assert brokers(settings()) == {"bootstrap_servers": "kafka:9092", "security_protocol": "PLAINTEXT"}


def test_a_name_and_a_password() -> None:
    named = settings(kafka_security="SASL_PLAINTEXT", kafka_user="ledger", kafka_password="secret")
    assert brokers(named) == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "ledger",
        "sasl_plain_password": "secret",
    }
    assert "secret" not in repr(named)


@pytest.mark.parametrize("security", ["SSL", "SASL_SSL"])
def test_over_tls_the_brokers_must_show_whom_they_are(security: str) -> None:
    told = brokers(settings(kafka_security=security, kafka_user="ledger", kafka_password="secret"))
    context = told["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert ("sasl_plain_username" in told) is (security == "SASL_SSL")


def test_an_authority_that_is_not_there_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        brokers(settings(kafka_security="SSL", kafka_ca_file=tmp_path / "ca.pem"))


@pytest.mark.parametrize("given", [{}, {"kafka_user": "ledger"}, {"kafka_password": "secret"}])
def test_a_door_that_asks_for_a_name_needs_name_and_password(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="SASL_SSL needs kafka_user and kafka_password"):
        settings(kafka_security="SASL_SSL", **given)
