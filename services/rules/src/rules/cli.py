"""`python -m rules export | plan | apply`: a shop as a file, over the HTTP API, from test to production."""

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from chassis.client import Client, Unreachable
from rules.documents import RuleSetDocument, differences
from rules.file import FileFault, ShopFile, read, write
from rules.schemas import ProgrammeBody

USING_TRIES = 60
"""How often settings of using are sent until redemption has heard of a new shop."""

USING_PAUSE_SECONDS = 0.25


class Refused(Exception):
    """The API said no."""


def main(arguments: Sequence[str]) -> int:
    """Parse and run; the exit status is 0 when done, 1 when refused, 2 for a fault of the file."""
    parser = argparse.ArgumentParser(prog="python -m rules")
    parser.add_argument("--url", default=os.environ.get("ACCRUAL_URL", "http://127.0.0.1:8080"), help="the gateway")
    parser.add_argument(
        "--token-file",
        type=Path,
        default=os.environ.get("ACCRUAL_TOKEN_FILE"),
        help="a bearer token with scopes rules:read and rules:write",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    exporting = commands.add_parser("export", help="write a shop's programme, active rules and using as YAML")
    exporting.add_argument("shop")
    exporting.add_argument("file", nargs="?", type=Path, help="absent: standard output")
    planning = commands.add_parser("plan", help="show what applying a file would change")
    applying = commands.add_parser("apply", help="make it so: a new version of the rules, active at once")
    applying.add_argument("--from", dest="since", type=datetime.fromisoformat, help="activate from then on")
    applying.add_argument("--note", default="", help="kept with the version")
    for command in (planning, applying):
        command.add_argument("file", type=Path)
        command.add_argument("--shop", help="another shop than the file names: copy from test to production")
    given = parser.parse_args(arguments)
    if given.token_file is None:
        parser.error("a token is needed: --token-file or ACCRUAL_TOKEN_FILE")
    try:
        return asyncio.run(_run(given))
    except FileFault as fault:
        sys.stderr.write(f"{given.file}:\n{fault}\n")
        return 2
    except (Refused, Unreachable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _run(given: argparse.Namespace) -> int:
    api = _Api(Client(given.url, Path(given.token_file)))
    try:
        if given.command == "export":
            text = await export(api, given.shop)
            if given.file is None:
                sys.stdout.write(text)
            else:
                await asyncio.to_thread(given.file.write_text, text)
            return 0
        file = read(await asyncio.to_thread(given.file.read_text))
        shop = given.shop or file.shop
        changes = await plan(api, shop, file)
        sys.stdout.write("\n".join(changes or ["nothing changes"]) + "\n")
        if given.command == "apply":
            sys.stdout.write(await apply(api, shop, file, since=given.since, note=given.note) + "\n")
        return 0
    finally:
        await api.client.close()


class _Api:
    """The HTTP API of shops."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def get(self, shop: str, path: str) -> Any:
        """What is there, or None."""
        answer = await self.client.call("GET", f"/v1/shops/{shop}/{path}")
        return None if answer.status_code == httpx.codes.NOT_FOUND else _content(answer)

    async def write(self, method: str, shop: str, path: str, body: Mapping[str, Any]) -> Any:
        """Its answer. The key follows from the content, so that a repeated try is the same write."""
        return _content(await self.send(method, shop, path, body))

    async def send(self, method: str, shop: str, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """The same, whatever the answer is."""
        unique = f"{os.getpid()}.{id(self)}.{method} {path} {json.dumps(body, sort_keys=True)}"
        key = hashlib.sha256(unique.encode()).hexdigest()
        return await self.client.call(method, f"/v1/shops/{shop}/{path}", json=body, headers={"Idempotency-Key": key})


def _content(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        problem = answer.json()
        raise Refused(f"{answer.request.method} {answer.request.url.path}: {problem['code']}: {problem['detail']}")
    except (ValueError, KeyError):
        raise Refused(f"{answer.request.method} {answer.request.url.path}: status {answer.status_code}") from None


async def export(api: _Api, shop: str) -> str:
    """The shop as a file."""
    programme = await api.get(shop, "programme")
    if programme is None:
        raise Refused(f"shop {shop} has no programme")
    programme.pop("revision")
    active = await api.get(shop, "rule-sets/active")
    rules = RuleSetDocument.model_validate(active["document"] if active else {"rules": {}})
    return write(shop, ProgrammeBody.model_validate(programme), rules, await _using(api, shop))


async def _using(api: _Api, shop: str) -> dict[str, Any] | None:
    using = await api.get(shop, "redemption/settings")
    if using is None:
        return None
    return {name: value for name, value in using.items() if name not in ("revision", "shop", "on", "changed_at")}


async def plan(api: _Api, shop: str, file: ShopFile) -> list[str]:
    """What would change, a line each; empty when nothing would."""
    lines = []
    programme = await api.get(shop, "programme") or {}
    for name, value in file.programme.model_dump(mode="json").items():
        if programme.get(name) != value:
            lines.append(f"~ programme.{name}: {_short(programme.get(name))} → {_short(value)}")
    active = await api.get(shop, "rule-sets/active") if programme else None
    document: dict[str, Any] = active["document"] if active else {"rules": {}, "combine": "most_specific"}
    wanted = file.rules.canonical()
    if document["combine"] != wanted["combine"]:
        lines.append(f"~ combine: {document['combine']} → {wanted['combine']}")
    marks = {"added": "+", "removed": "-", "changed": "~"}
    for change in differences(document["rules"], wanted["rules"]):
        lines.append(f"{marks[change.change]} rule {change.rule}")
        before, after = change.before or {}, change.after or {}
        if change.change == "changed":
            lines += [
                f"    {name}: {_short(before.get(name))} → {_short(after.get(name))}"
                for name in sorted({*before, *after})
                if before.get(name) != after.get(name)
            ]
    if file.using is not None and programme:
        using = await _using(api, shop)
        if not _says(using, file.using):
            lines.append("~ using")
    elif file.using is not None:
        lines.append("+ using")
    return lines


def _says(held: Any, wanted: Any) -> bool:
    """Whether what is held has everything that is wanted; it also has the defaults."""
    if isinstance(wanted, dict):
        return isinstance(held, dict) and all(_says(held.get(name), value) for name, value in wanted.items())
    return bool(held == wanted)


def _short(value: Any) -> str:
    return "—" if value is None else json.dumps(value, ensure_ascii=False)


async def apply(api: _Api, shop: str, file: ShopFile, *, since: datetime | None, note: str) -> str:
    """Make it so; what was done, in a sentence."""
    await api.write("PUT", shop, "programme", file.programme.model_dump(mode="json"))
    body: dict[str, Any] = {**file.rules.canonical(), "note": note}
    version = (await api.write("POST", shop, "rule-sets", body))["version"]
    beginning = {"from": since.astimezone().isoformat()} if since else {}
    active = await api.write("POST", shop, f"rule-sets/{version}/activate", beginning)
    if file.using is not None:
        await _apply_using(api, shop, file.using)
    return f"rules version {version} of shop {shop} is {active['state']}"


async def _apply_using(api: _Api, shop: str, using: Mapping[str, Any]) -> None:
    """Settings of using are redemption's own; a shop that it has not heard of yet is asked for again."""
    answer = await api.send("PUT", shop, "redemption/settings", using)
    for _ in range(USING_TRIES):
        if answer.status_code != httpx.codes.NOT_FOUND:
            break
        await asyncio.sleep(USING_PAUSE_SECONDS)
        answer = await api.send("PUT", shop, "redemption/settings", using)
    _content(answer)
