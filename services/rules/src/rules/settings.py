"""What the rules service can be told: nothing that other services are not told as well."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis import ServiceSettings


class RulesSettings(ServiceSettings):
    """Read from the environment with the prefix `RULES_`."""

    model_config = SettingsConfigDict(env_prefix="RULES_", frozen=True, extra="ignore")

    http_port: int = Field(default=8102, description="Port to listen on; metrics, health and the API share it.")
