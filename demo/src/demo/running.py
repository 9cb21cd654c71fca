"""The system under the demo: started if need be, its shop opened from the file."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from local import keys, system
from local.settings import LocalSettings

SHOP = "demo"


class NotUp(Exception):
    """The system did not start; it has said why."""


def shop_file() -> Path:
    """The YAML file that the shop is opened from."""
    return Path(str(resources.files("demo").joinpath("shop.yaml")))


def is_up() -> bool:
    """Whether everything runs and is ready."""
    # `status` also prints a table, which nobody asked for.
    return subprocess.run(_local("status"), stdout=subprocess.DEVNULL, check=False).returncode == 0


def start() -> None:
    """`make up`."""
    if subprocess.run(_local("up"), check=False).returncode != 0:
        raise NotUp


def stop() -> None:
    """`make down`."""
    subprocess.run(_local("down"), check=False)


def gateway_url(settings: LocalSettings) -> str:
    """The public face."""
    return f"http://127.0.0.1:{settings.gateway_port}"


def mailbox_url(settings: LocalSettings) -> str:
    """The page that shows the e-mail."""
    return f"http://127.0.0.1:{settings.mailbox_http_port}"


def bootstrap_servers(settings: LocalSettings) -> str:
    """Kafka."""
    return system.kafka(settings).bootstrap_servers


def token(settings: LocalSettings) -> str:
    """A token for everything in the demo shop, and nothing in any other."""
    return keys.issuer(settings).mint(shop=SHOP, client="demo")


def open_shop(settings: LocalSettings) -> str:
    """`python -m rules apply`; what it said."""
    with _token_file(settings) as file:
        command = [sys.executable, "-m", "rules", "--url", gateway_url(settings), "--token-file", str(file)]
        done = subprocess.run(
            [*command, "apply", str(shop_file())], capture_output=True, text=True, check=False, timeout=120
        )
    if done.returncode != 0:
        raise NotUp(done.stderr.strip() or done.stdout.strip())
    return done.stdout.strip()


@contextmanager
def _token_file(settings: LocalSettings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "token"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(token(settings))
        yield file


def _local(command: str) -> list[str]:
    return [sys.executable, "-m", "local", command]
