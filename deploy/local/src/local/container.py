"""What has to be there before the services start in containers: keys, the services' tokens, topics and rights in Kafka.

`python -m local.container prepare` makes them; `python -m local.container token --shop demo` signs a token,
FOR DEVELOPMENT ONLY, with the key that lies in the containers' volume.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from local import access, topics
from local.keys import seal_key_file
from local.tokens import ALL_SCOPES, SERVICE_SCOPES, SERVICE_TOKEN_SECONDS, DevelopmentIssuer


def main() -> int:
    """Parse and run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.container", description=__doc__)
    parser.add_argument("--keys", type=Path, default=Path("/keys"), help="folder of the keys")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="keys, tokens and topics, where they are missing")
    prepare.add_argument("--bootstrap-servers", required=True)
    token = commands.add_parser("token", help="FOR DEVELOPMENT ONLY: sign a token")
    token.add_argument("--shop", default="demo")
    token.add_argument("--scope", default=ALL_SCOPES)
    chosen = parser.parse_args()
    issuer = DevelopmentIssuer.kept_in(chosen.keys)
    if chosen.command == "token":
        print("*** FOR DEVELOPMENT ONLY: signed with a key that lies in a container's volume. ***", file=sys.stderr)
        print(issuer.mint(chosen.scope, chosen.shop))
        return 0
    for service, scopes in SERVICE_SCOPES.items():
        minted = issuer.mint(scopes, "*", client=service, lifetime_seconds=SERVICE_TOKEN_SECONDS)
        (chosen.keys / f"{service}.token").write_text(minted)
    seal_key_file(chosen.keys)
    password = os.environ["KAFKA_ADMIN_PASSWORD"]
    brokers = {"bootstrap_servers": chosen.bootstrap_servers, **access.named(access.ADMIN, password)}
    asyncio.run(topics.ensure(brokers, guarded=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
