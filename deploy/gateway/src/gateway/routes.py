"""The list of routes as data: reading it, and asking it who answers a path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml

_PREFIX: Final = "/v1/shops/{shop}/"


@dataclass(frozen=True, slots=True)
class Route:
    """One path and the service that answers it."""

    service: str
    path: str

    @property
    def pattern(self) -> str:
        """The path as a regular expression for whole paths, as Envoy and Python both read it."""
        body, everything_below = re.subn(r"/\*\*$", "", self.path)
        escaped = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(body))
        return escaped + ("(/.*)?" if everything_below else "")


@cache
def routes() -> tuple[Route, ...]:
    """All routes in the order in which they are tried."""
    listed: Mapping[str, list[str]] = yaml.safe_load(files("gateway").joinpath("routes.yaml").read_text())
    return tuple(Route(service, _PREFIX + path) for service, paths in listed.items() for path in paths)


def services() -> tuple[str, ...]:
    """The services that the gateway stands before."""
    return tuple(dict.fromkeys(route.service for route in routes()))


def service_of(path: str) -> str | None:
    """Who answers a path; None for nobody."""
    return next((route.service for route in routes() if re.fullmatch(route.pattern, path)), None)
