"""What every service can be told, with a unit and a reason for each limit."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Read once from the environment, with the service's name as prefix (`LEDGER_HTTP_PORT`)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    # -- database
    database_url: SecretStr = Field(description="`postgresql://role:password@host:port/database` of the app role.")
    migration_database_url: SecretStr | None = Field(
        default=None, description="The same as the owner role; needed by `migrate` only."
    )
    database_connections: int = Field(
        default=12, ge=2, description="Connections of one process. Transactions are short; more only queue in Postgres."
    )
    statement_timeout_seconds: float = Field(default=30, gt=0, description="A batch takes under 1 s; 30 means stuck.")
    lock_timeout_seconds: float = Field(
        default=10,
        gt=0,
        description="Waiting for a lane or a row; longer than any batch, shorter than a poll interval.",
    )
    transaction_timeout_seconds: float = Field(default=60, gt=0, description="No transaction may outlive its caller.")
    retry_seconds: float = Field(
        default=5, ge=0, description="How long an HTTP request's transaction is tried again on transient faults."
    )

    # -- Kafka
    kafka_bootstrap_servers: str = Field(description="`host:port`, comma separated.")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="The brokers' security protocol; `SASL_…` needs a user and a password."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How the password is shown to the brokers."
    )
    kafka_user: str | None = Field(
        default=None, description="Who this service is to the brokers; the contracts say what it must be allowed."
    )
    kafka_password: SecretStr | None = Field(default=None, description="The user's.")
    kafka_ca_file: Path | None = Field(
        default=None, description="Who signs the brokers' certificates, PEM; absent: the authorities that all trust."
    )
    instance: str | None = Field(
        default=None,
        description="A name that stays with this replica across restarts. With it, a restarted worker gets its "
        "partitions back at once; without it they wait for the session to time out.",
    )
    session_timeout_ms: int = Field(
        default=10_000,
        ge=1_000,
        description="After this silence a worker's partitions go to others; over GC and I/O stalls.",
    )
    batch_size: int = Field(
        default=1_000,
        ge=1,
        description="Messages per transaction at most: where the rate stops growing, and under 1 s.",
    )
    dead_letters_per_shop: int = Field(
        default=100, ge=1, description="Dead letters of one shop within a minute before the shop is quarantined."
    )
    dead_letter_shops: int = Field(
        default=5, ge=1, description="Shops quarantined within a minute before the consumer stops: the fault is ours."
    )
    dead_letter_days: int = Field(
        default=30, ge=1, description="Days that raw dead letters are kept; they may hold anything."
    )

    # -- relay
    relay_lease_seconds: float = Field(
        default=5,
        gt=0,
        description="A silent relay loses the lead after this; over a long GC pause, short for readers.",
    )
    relay_batch_size: int = Field(default=2_000, ge=1, description="Rows per lane and round.")
    relay_idle_ms: int = Field(
        default=250, ge=1, description="Longest pause between looks when idle; writers in this process wake it at once."
    )
    outbox_keep_seconds: float = Field(
        default=600, ge=0, description="Sent rows stay so long, for whoever investigates."
    )

    # -- HTTP
    http_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    http_port: int = Field(description="Port to listen on; metrics, health and the API share it.")
    http_in_flight: int = Field(
        default=512, ge=1, description="Requests at once; beyond it 429 with Retry-After, before latency explodes."
    )
    http_body_bytes: int = Field(default=1_048_576, ge=1_024, description="A larger body is answered 413.")

    # -- tokens
    jwks_file: Path = Field(
        description="The issuer's public keys, a JWKS document; read again when an unknown key is named."
    )
    token_issuer: str = Field(default="accrual-local", description="`iss` that tokens must carry.")
    token_audience: str = Field(default="accrual", description="`aud` that tokens must carry.")

    # -- telemetry
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    otlp_endpoint: str | None = Field(default=None, description="OTLP/HTTP traces endpoint; absent: no spans are made.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.kafka_security.startswith("SASL") and (self.kafka_user is None or self.kafka_password is None):
            raise ValueError(f"{self.kafka_security} needs kafka_user and kafka_password")
        return self
