"""What redemption can be told, on top of what every service can."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.settings import ServiceSettings


class RedemptionSettings(ServiceSettings):
    """Read once from the environment with the prefix `REDEMPTION_`."""

    model_config = SettingsConfigDict(env_prefix="REDEMPTION_", frozen=True, extra="ignore")

    http_port: int = Field(default=8103, description="Port to listen on; metrics, health and the API share it.")
    ledger_url: str = Field(description="Where the ledger answers, such as `http://127.0.0.1:8101`.")
    service_token_file: Path = Field(
        description="A file with the bearer token that redemption shows to the ledger: every shop, scopes `ledger:read"
        " holds:write`, client `redemption`."
    )
    finish_every_seconds: float = Field(
        default=5, gt=0, description="How often checkouts that a crash left between two steps are looked for."
    )
    finish_after_seconds: float = Field(
        default=15,
        gt=0,
        description="How long a request may take before a job finishes its checkout: longer than all tries of a call.",
    )
    finish_batch_size: int = Field(default=100, ge=1, description="Checkouts finished per look.")
