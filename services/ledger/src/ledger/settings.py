"""What the ledger can be told, on top of what every service can."""

from pathlib import Path

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
        default=60, gt=0, description="How often the books and the seals are looked at for the metrics."
    )
    replay_batch_size: int = Field(
        default=500, ge=1, description="Accounts whose balances are rebuilt from entries in each round of that check."
    )
    proposals_every_seconds: float = Field(
        default=60, gt=0, description="How often proposals that nobody has decided on in time are closed."
    )
    proposal_days: float = Field(
        default=30, gt=0, le=3_650, description="For how long a second person can approve what was proposed."
    )
    parked_every_seconds: float = Field(
        default=30,
        gt=0,
        description="How often what waits for its award or spend is counted and, when old, offered again.",
    )
    parked_alarm_seconds: float = Field(
        default=900, gt=0, description="A posting that waits longer for its cause is offered again and reported."
    )
    seal_key_file: Path | None = Field(
        default=None,
        description="The Ed25519 key that signs seals, PEM. Only `jobs` needs it; without it nothing is sealed, and the"
        " alarm on the seals' lag says so.",
    )
    seal_previous_key_file: Path | None = Field(
        default=None, description="The key before, until it has handed every lane over to a new one."
    )
    seal_folder: Path | None = Field(
        default=None,
        description="Where seals are kept outside the database, one JSON line each, only ever appended to. At start the"
        " log is held against the last ones. On another disk than the database, best a write-once one.",
    )
    seal_every_seconds: float = Field(
        default=5,
        gt=0,
        description="How often new rows are sealed: until then only the topic holds them. Each seal of a lane costs a"
        " transaction and a row per shop.",
    )
    seal_batch_size: int = Field(
        default=10_000,
        ge=1,
        description="Rows of one seal at most: a tenth of a second to seal them, and what a member's proof must read.",
    )
    seal_check_rows: int = Field(
        default=10_000,
        ge=1,
        description="Sealed rows that are hashed again in each round of the check, a tenth of a second's worth.",
    )
    export_seconds: float = Field(
        default=3600,
        gt=0,
        description="How long an export may take: its snapshot keeps the database from clearing away old row versions.",
    )
    imports_every_seconds: float = Field(
        default=2, gt=0, description="How often files are looked for that wait to be worked off."
    )
    import_keep_days: int = Field(
        default=30,
        ge=1,
        description="Days that an import's lines and errors are kept; they may hold anything. Its numbers stay.",
    )
    import_drop_every_seconds: float = Field(
        default=600, gt=0, description="How often files are looked for that were kept long enough."
    )
