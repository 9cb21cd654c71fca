"""`python -m gateway render` prints Envoy's configuration; `python -m gateway openapi` writes the merged document."""

import argparse
import sys
from pathlib import Path

from gateway.render import render
from gateway.settings import GatewaySettings


def main() -> int:
    """Parse and run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("render", help="Envoy's configuration for the GATEWAY_ settings in the environment")
    merged = commands.add_parser("openapi", help="one OpenAPI document of all services")
    merged.add_argument("file", type=Path)
    merged.add_argument("--check", action="store_true", help="write nothing; fail when the file is not current")
    chosen = parser.parse_args()
    if chosen.command == "render":
        sys.stdout.write(render(GatewaySettings()))
        return 0
    # Imported here: it imports every service.
    from gateway.openapi import merged_document

    text = merged_document()
    if chosen.check:
        current = chosen.file.exists() and chosen.file.read_text() == text
        print(f"{chosen.file} is {'current' if current else 'not current; run `make docs`'}")
        return 0 if current else 1
    chosen.file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
