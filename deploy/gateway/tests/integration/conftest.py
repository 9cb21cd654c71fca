"""A real Envoy with our configuration before services that only say who they are."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from gateway.render import render
from gateway.routes import services
from gateway.settings import GatewaySettings
from local import child
from local.gateway import envoy_command
from testkit import wait_until
from testkit.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Running:
    """The gateway under test."""

    url: str
    admin_url: str
    upstreams: dict[str, uvicorn.Server]
    access_log: Path


REQUEST_SECONDS = 2
"""How long the gateway under test waits for an answer."""

SLOW_SECONDS = REQUEST_SECONDS + 1
"""How long a slow answer takes: nothing is waited for in it, its length is what is tested. Routes that stream let it
pass, all others do not."""

ARRIVED: list[int] = []
"""Pieces of a streamed body as the service gets them."""


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An upstream that says which port it has, echoes the body's size, or is slow when asked to be."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if scope["query_string"] == b"stream":
            ARRIVED.append(len(message.get("body", b"")))
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["query_string"] == b"slow":
        await asyncio.sleep(SLOW_SECONDS)
    body = {"port": scope["server"][1], "path": scope["path"], "size": size}
    body["headers"] = {name.decode(): value.decode() for name, value in scope["headers"]}
    status = int(scope["query_string"] or 200) if scope["query_string"].isdigit() else 200
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@asynccontextmanager
async def gateway(folder: Path, jwks_file: Path) -> AsyncIterator[Running]:
    """Envoy and services behind it, that trust the keys of a file."""
    for name in ("openapi.json", "docs.html", "docs.js"):
        (folder / name).write_text(f"this is {name}" * 1000)
    upstreams = {service: child.free_port() for service in services()}
    servers = {}
    tasks = []
    for service, port in upstreams.items():
        servers[service] = uvicorn.Server(uvicorn.Config(answer, port=port, log_level="warning", lifespan="off"))
        tasks.append(asyncio.create_task(servers[service]._serve()))
    settings = GatewaySettings(
        port=child.free_port(),
        admin_port=child.free_port(),
        upstreams={service: f"127.0.0.1:{port}" for service, port in upstreams.items()},
        jwks_file=jwks_file,
        pages=folder,
        requests_per_second=50,
        body_bytes=10_000,
        request_seconds=REQUEST_SECONDS,
        retries=2,
    )
    configuration = folder / "envoy.yaml"
    configuration.write_text(render(settings))
    log = folder / "envoy.log"
    with log.open("wb") as output:
        envoy = child.spawn(envoy_command(configuration, folder), log=output)
    admin_url = f"http://127.0.0.1:{settings.admin_port}"
    try:
        async with httpx.AsyncClient() as client:

            async def ready() -> bool:
                assert envoy.poll() is None, log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    return (await client.get(f"{admin_url}/ready")).status_code == 200
                return False

            await wait_until(ready, what="Envoy")
        yield Running(f"http://127.0.0.1:{settings.port}", admin_url, servers, log)
    finally:
        child.stop(envoy, stop_signal=envoy_command(configuration, folder).stop_signal, timeout_seconds=5)
        for server in servers.values():
            server.should_exit = True
        await asyncio.gather(*tasks)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory, tokens: Tokens) -> AsyncIterator[Running]:
    async with gateway(tmp_path_factory.mktemp("gateway"), tokens.jwks_file) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url) as made:
        yield made
