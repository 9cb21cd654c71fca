"""Rights in Kafka follow from the contracts, and the document tells those that are given."""

import re

from contracts import topics
from local.access import rights
from local.paths import ROOT, SERVICES

TOPIC, GROUP = 2, 3
READ, WRITE = 3, 4


def topics_of(principal: str, operation: int) -> set[str]:
    return {
        right.name
        for right in rights(topics.ALL)
        if right.resource == TOPIC and right.operation == operation and right.principal == f"User:{principal}"
    }


def test_the_documents_table_is_what_is_given() -> None:
    rows = re.findall(
        r"^\| (\w[\w ]+) \| (.+?) \| (.+?) \| (.+?) \|$",
        (ROOT / "docs" / "operating.md").read_text().split("## Rights in Kafka")[1].split("\n## ")[0],
        re.MULTILINE,
    )
    told = {
        user: (set(re.findall(r"`(\w+)`", writes)), set(re.findall(r"`(\w+)`", reads)), groups)
        for user, writes, reads, groups in rows
        if user != "user"
    }
    assert set(told) == {*SERVICES, "shop platforms"}
    for_all = topics_of("*", READ)
    for service in SERVICES:
        writes, reads, groups = told[service]
        assert topics_of(service, WRITE) == writes
        assert topics_of(service, READ) <= reads <= topics_of(service, READ) | for_all
        assert groups == f"prefix `{service}.`"
    writes, reads, _ = told["shop platforms"]
    assert (topics_of("ANONYMOUS", WRITE), for_all) == (writes, reads)


def test_nobody_may_write_everywhere() -> None:
    assert not topics_of("*", WRITE)
    assert "*" not in {name for user in (*SERVICES, "ANONYMOUS") for name in topics_of(user, WRITE)}


def test_only_a_service_reads_in_its_groups() -> None:
    groups = {
        (right.name, right.principal)
        for right in rights(topics.ALL)
        if (right.resource, right.operation) == (GROUP, READ)
    }
    assert groups == {
        *((f"{service}.", f"User:{service}") for service in SERVICES), ("console-consumer-", "User:ANONYMOUS"),
    }  # fmt: skip
