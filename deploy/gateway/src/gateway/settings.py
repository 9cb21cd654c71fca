"""What the gateway can be told."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """Read from the environment, with the prefix `GATEWAY_`."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address of the public listener.")
    port: int = Field(default=8080, description="Port of the public listener.")
    admin_port: int = Field(default=9901, description="Port of Envoy's own page, always on the loopback address.")
    upstreams: dict[str, str] = Field(
        default={
            "ledger": "127.0.0.1:8101",
            "rules": "127.0.0.1:8102",
            "redemption": "127.0.0.1:8103",
            "notifications": "127.0.0.1:8104",
        },
        description="`host:port` of each service; JSON in the environment.",
    )
    jwks_file: Path = Field(
        description="The issuer's public keys; read again, within seconds, when another file takes its name."
    )
    token_issuer: str = Field(default="accrual-local", description="`iss` that tokens must carry.")
    token_audience: str = Field(default="accrual", description="`aud` that tokens must carry.")
    requests_per_second: int = Field(
        default=1_000, ge=1, description="Of one client, and of one address without a token; bursts of twice as many."
    )
    body_bytes: int = Field(default=1_048_576, ge=1_024, description="A larger body is answered 413.")
    request_seconds: float = Field(default=15, gt=0, description="A service that takes longer is answered for, 504.")
    retries: int = Field(
        default=10,
        ge=1,
        description="Of a request that reached no service, or got no answer because its service ended: some 4 s in"
        " all, longer than a restart.",
    )
    stream_seconds: float = Field(
        default=600, gt=0, description="A body that streams has come in by then: 256 MiB at 4 Mbit/s."
    )
    origins: tuple[str, ...] = Field(
        default=(r"http://(localhost|127\.0\.0\.1)(:\d+)?",),
        description="Regular expressions of the pages' origins that browsers may call from; JSON in the environment.",
    )
    pages: Path = Field(description="Folder with openapi.json, docs.html and docs.js, which the gateway serves itself.")
