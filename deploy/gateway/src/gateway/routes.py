"""The list of routes as data: reading it, and asking it who answers a path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

_PREFIX: Final = "/v1/shops/{shop}/"


@dataclass(frozen=True, slots=True)
class Route:
    """One path and the service that answers it."""

    service: str
    path: str
    streams: bool = False
    """Whether bodies of any length pass through as they come, in either direction. An answer may take as long as it
    likes, as long as something comes."""

    @property
    def pattern(self) -> str:
        """The path as a regular expression for whole paths, as Envoy and Python both read it."""
        body, everything_below = re.subn(r"/\*\*$", "", self.path)
        escaped = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(body))
        return escaped + ("(/.*)?" if everything_below else "")


@cache
def routes() -> tuple[Route, ...]:
    """All routes in the order in which they are tried."""
    listed: Mapping[str, list[str | Mapping[str, Any]]] = yaml.safe_load(
        files("gateway").joinpath("routes.yaml").read_text()
    )
    return tuple(_route(service, told) for service, paths in listed.items() for told in paths)


def _route(service: str, told: str | Mapping[str, Any]) -> Route:
    if isinstance(told, str):
        return Route(service, _PREFIX + told)
    return Route(service, _PREFIX + told["path"], streams=told["streams"])


def services() -> tuple[str, ...]:
    """The services that the gateway stands before."""
    return tuple(dict.fromkeys(route.service for route in routes()))


def service_of(path: str) -> str | None:
    """Who answers a path; None for nobody."""
    return next((route.service for route in routes() if re.fullmatch(route.pattern, path)), None)
