"""The command line of the local system: `python -m local up`, and what belongs to it."""

import argparse
import os
import sys
from collections.abc import Sequence

from dotenv import dotenv_values

from local import commands
from local.paths import ROOT
from local.settings import LocalSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run one command; the exit status."""
    chosen = _parser().parse_args(arguments)
    for name, value in dotenv_values(ROOT / ".env").items():
        os.environ.setdefault(name, value or "")  # the parts read their own variables from there too
    settings = LocalSettings()
    settings.var.mkdir(parents=True, exist_ok=True)
    status: int = chosen.run(settings, chosen)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    added = parser.add_subparsers(dest="command", required=True)

    up = added.add_parser("up", help="start everything and wait until it is ready")
    up.set_defaults(run=lambda settings, _: commands.up(settings))

    down = added.add_parser("down", help="stop everything")
    down.set_defaults(run=lambda settings, _: commands.down(settings))

    status = added.add_parser("status", help="what runs, where, and how it is")
    status.set_defaults(run=lambda settings, _: commands.status(settings))

    logs = added.add_parser("logs", help="follow the logs")
    logs.add_argument("names", nargs="*", help="parts; all when none is named")
    logs.add_argument("--no-follow", action="store_true", help="print the last lines and end")
    logs.set_defaults(
        run=lambda settings, chosen: commands.logs_of(settings, chosen.names, follow=not chosen.no_follow)
    )

    clean = added.add_parser("clean", help="stop everything and remove what running made")
    clean.set_defaults(run=lambda settings, _: commands.clean(settings))

    token = added.add_parser("token", help="FOR DEVELOPMENT ONLY: sign a token with this machine's key")
    token.add_argument("--shop", default="demo", help='a shop, or "*" for an internal service')
    token.add_argument("--scope", default=None, help="scopes, separated by spaces; all when absent")
    token.add_argument("--client", default="developer", help="who the token speaks for")
    token.add_argument("--hours", type=float, default=24.0, help="until it ends")
    token.set_defaults(
        run=lambda settings, chosen: commands.token_for(
            settings, chosen.shop, chosen.scope, chosen.client, chosen.hours
        )
    )

    tool = added.add_parser("tool", help="one of Kafka's own console tools, on this broker")
    tool.add_argument("name", choices=commands.KAFKA_TOOLS, help="a script of Kafka's, less its `kafka-`")
    tool.add_argument("arguments", nargs=argparse.REMAINDER)
    tool.set_defaults(run=lambda settings, chosen: commands.kafka_tool(settings, chosen.name, chosen.arguments))

    engines = added.add_parser("engines", help="only PostgreSQL and Kafka, in the foreground, for test runs to share")
    engines.set_defaults(run=lambda settings, _: commands.engines(settings))

    environment = added.add_parser("environment", help="each service's variables, to run one of them by hand")
    environment.set_defaults(run=lambda settings, _: commands.environment(settings))

    fetch = added.add_parser("fetch", help="Kafka's jars, once; part of `make setup`")
    fetch.set_defaults(run=lambda *_: commands.fetch())

    supervise = added.add_parser("supervise", help="what `up` leaves running")
    supervise.set_defaults(run=lambda settings, _: commands.supervise(settings, engines_only=False))

    prepare = added.add_parser("prepare", help="databases, migrations and topics; part of `up`")
    prepare.add_argument("--engines-only", action="store_true")
    prepare.set_defaults(run=lambda settings, chosen: commands.prepare(settings, engines_only=chosen.engines_only))
    return parser


if __name__ == "__main__":
    sys.exit(main())
