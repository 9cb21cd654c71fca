"""What the local system can be told: ports, mostly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from local.paths import ROOT, VAR

PREFIX: Final = "LOCAL_"


class LocalSettings(BaseSettings):
    """Read from the environment (`LOCAL_GATEWAY_PORT=18080 make up`) and from `.env` in the repository's folder."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=ROOT / ".env", frozen=True, extra="ignore")

    var: Path = Field(default=VAR, description="Folder of everything that running makes: data, keys, logs.")

    gateway_port: int = Field(default=8080, description="The public face.")
    gateway_admin_port: int = Field(default=9901, description="Envoy's own page, for operators.")
    ledger_port: int = Field(default=8101, description="ledger behind the gateway.")
    rules_port: int = Field(default=8102, description="rules behind the gateway.")
    redemption_port: int = Field(default=8103, description="redemption behind the gateway.")
    notifications_port: int = Field(default=8104, description="notifications behind the gateway.")
    mailbox_smtp_port: int = Field(default=8125, description="Where notifications deliver e-mail.")
    mailbox_http_port: int = Field(default=8126, description="The page that shows the e-mail.")
    postgres_port: int = Field(default=5439, description="PostgreSQL.")
    postgres_shared_buffers: str = Field(
        default="256MB",
        description="Memory in which PostgreSQL keeps pages; on a machine of its own a quarter of that.",
    )
    kafka_port: int = Field(default=9192, description="Kafka's listener for shop platforms and whoever looks.")
    kafka_controller_port: int = Field(default=9193, description="Kafka's listener for its own control.")
    kafka_services_port: int = Field(default=9194, description="Kafka's listener for services, by name and password.")
    kafka_guarded: bool = Field(
        default=True, description="Whether Kafka asks who does what. Tests and benchmarks of one service need it not."
    )

    start_seconds: float = Field(
        default=90, gt=0, description="After so long a start has failed; a slow disk may take a minute."
    )

    @property
    def ports(self) -> Mapping[str, int]:
        """Every port by the environment variable that sets it."""
        return {
            f"{PREFIX}{name.upper()}": getattr(self, name) for name in type(self).model_fields if name.endswith("_port")
        }

    @property
    def keys(self) -> Path:
        """Keys and passwords of this machine, made at first start."""
        return self.var / "keys"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.var / "log"
