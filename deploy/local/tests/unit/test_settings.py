"""Ports are settings, each under a name of its own."""

import pytest

from local.settings import LocalSettings


def test_every_port_has_a_setting_and_none_is_used_twice() -> None:
    ports = LocalSettings.model_construct().ports  # the defaults, whatever this machine's `.env` says
    assert len(set(ports.values())) == len(ports) == 12
    assert ports["LOCAL_GATEWAY_PORT"] == 8080


def test_a_port_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_GATEWAY_PORT", "18080")
    assert LocalSettings().gateway_port == 18080
