"""What this service can be told by its environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.settings import ServiceSettings
from notifications.smtp import TlsMode


class NotificationsSettings(ServiceSettings):
    """`NOTIFICATIONS_…`"""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="NOTIFICATIONS_")

    http_port: int = Field(default=8104, description="Port to listen on; metrics, health and the API share it.")

    ledger_url: str = Field(description="Where the ledger answers, such as `http://127.0.0.1:8101`.")
    service_token_file: Path = Field(
        description="A file with the bearer token that this service shows to the ledger: every shop, scope"
        " `ledger:read`, client `notifications`."
    )

    # -- e-mail
    smtp_host: str = Field(default="127.0.0.1", description="The mail server that takes our e-mails.")
    smtp_port: int = Field(default=25, ge=1, le=65_535)
    smtp_tls: TlsMode = Field(default="if_offered", description="`starttls` or `tls` insist; `off` never tries.")
    smtp_user: str | None = Field(default=None, description="Absent: no log-in.")
    smtp_password: SecretStr | None = None
    smtp_sender: str = Field(
        default="points@localhost", description="Sender of every e-mail; its domain is in every Message-ID."
    )
    smtp_connections: int = Field(
        default=8, ge=1, le=200, description="E-mails on their way at once; each connection is kept."
    )
    smtp_timeout_seconds: float = Field(
        default=10, gt=0, le=60, description="One e-mail; servers that scan take seconds."
    )
    email_give_up_hours: float = Field(
        default=72, gt=0, description="Then a failing e-mail is dead, and visible as such."
    )

    # -- webhooks
    webhook_connections: int = Field(
        default=32, ge=1, le=1_000, description="Webhooks on their way at once, over all endpoints."
    )
    webhook_connections_per_endpoint: int = Field(
        default=8, ge=1, le=1_000, description="Of these for one endpoint, so that a slow one does not take them all."
    )
    webhook_timeout_seconds: float = Field(
        default=10, gt=0, le=60, description="One attempt in all; the specification suggests 15 to 30 at most."
    )
    webhook_give_up_hours: float = Field(
        default=120, gt=0, description="Then a failing webhook is dead; long over a weekend."
    )
    webhook_failures: int = Field(
        default=8,
        ge=1,
        description="Failures of an endpoint in a row before it is left alone for a while, growing each time.",
    )
    webhook_endpoints: int = Field(
        default=20, ge=1, description="Endpoints of one shop at most; each gets every message."
    )
    webhook_private_targets: bool = Field(
        default=False, description="Call private addresses, and plain http. Local use only: a shop could reach inside."
    )

    # -- sending
    send_every_seconds: float = Field(
        default=0.5, gt=0, description="Pause between looks for due deliveries when idle."
    )
    lease_seconds: float = Field(
        default=30, gt=0, description="How late a delivery goes out again after a crash in the midst of it."
    )
    message_keep_days: int = Field(
        default=400, ge=1, description="Days that messages and what became of them can be looked up."
    )
