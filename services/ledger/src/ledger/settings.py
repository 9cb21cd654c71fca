"""What the ledger can be told, on top of what every service can."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.settings import ServiceSettings


class LedgerSettings(ServiceSettings):
    """Read once from the environment with the prefix `LEDGER_`."""

    model_config = SettingsConfigDict(env_prefix="LEDGER_", frozen=True, extra="ignore")

    http_port: int = Field(default=8101, description="Port to listen on; metrics, health and the API share it.")
    due_every_seconds: float = Field(
        default=5,
        gt=0,
        description="How often untouched accounts are brought up to date. Balances are right without it: it only"
        " decides how late an expiry is told to others.",
    )
    due_batch_size: int = Field(
        default=500, ge=1, description="Accounts of one lane brought up to date per transaction; well under a second."
    )
    fold_every_seconds: float = Field(
        default=30, gt=0, description="How often the system accounts' appended sums are folded into one row each."
    )
    check_every_seconds: float = Field(
        default=60, gt=0, description="How often the sum of all accounts is taken for the metrics."
    )
    replay_batch_size: int = Field(
        default=500, ge=1, description="Accounts whose balances are rebuilt from entries in each round of that check."
    )
    parked_every_seconds: float = Field(
        default=30,
        gt=0,
        description="How often what waits for its award or spend is counted and, when old, offered again.",
    )
    parked_alarm_seconds: float = Field(
        default=900, gt=0, description="A posting that waits longer for its cause is offered again and reported."
    )
