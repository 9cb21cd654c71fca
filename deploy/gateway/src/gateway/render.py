"""Envoy's configuration, rendered from the template, the routes and the settings."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from gateway.routes import routes, services
from gateway.settings import GatewaySettings


def render(settings: GatewaySettings) -> str:
    """The whole configuration as YAML."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - YAML, and every value is ours
    template = environment.from_string(files("gateway").joinpath("envoy.yaml.j2").read_text())
    missing = [service for service in services() if service not in settings.upstreams]
    if missing:
        raise ValueError(f"no address of {', '.join(missing)} in GATEWAY_UPSTREAMS")
    upstreams = {
        service: dict(zip(("host", "port"), settings.upstreams[service].rsplit(":", 1), strict=True))
        for service in services()
    }
    return template.render(settings=settings, routes=routes(), upstreams=upstreams)
