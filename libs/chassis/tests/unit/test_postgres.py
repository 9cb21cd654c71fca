"""Addresses of servers that have several hosts."""

import pytest

from chassis.postgres import each_host


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("postgresql://us:pw@one:5432/books", ["postgresql://us:pw@one:5432/books"]),
        (
            "postgresql://us:p%40w%2C@one:5432,two,[::1]:5433/books?sslmode=require&target_session_attrs=read-write",
            [
                "postgresql://us:p%40w%2C@one:5432/books?sslmode=require&target_session_attrs=read-write",
                "postgresql://us:p%40w%2C@two/books?sslmode=require&target_session_attrs=read-write",
                "postgresql://us:p%40w%2C@[::1]:5433/books?sslmode=require&target_session_attrs=read-write",
            ],
        ),
        ("postgresql://one,two/books", ["postgresql://one/books", "postgresql://two/books"]),
        ("postgresql:///books?host=/run/pg", ["postgresql:///books?host=/run/pg"]),
    ],
)
def test_each_host_of_an_address_has_all_else_of_it(address: str, hosts: list[str]) -> None:
    assert each_host(address) == hosts
