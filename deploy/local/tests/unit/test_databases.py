"""The script of a service's roles and database, read as psql reads it."""

from local.databases import statements

VARIABLES = {
    "owner": "ledger_owner",
    "app": "ledger",
    "database": "ledger",
    "owner_password": "o'clock",
    "app_password": "secret",
}


def test_variables_are_quoted_as_psql_quotes_them() -> None:
    script = statements(VARIABLES)
    assert script[0] == "CREATE ROLE \"ledger_owner\" LOGIN PASSWORD 'o''clock'"
    assert not [statement for statement in script if ":" in statement.replace("'5s'", "")]


def test_the_app_role_owns_nothing() -> None:
    owning = [" ".join(statement.split()) for statement in statements(VARIABLES) if "OWNER" in statement]
    text = "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
    assert owning == [f'CREATE DATABASE "ledger" OWNER "ledger_owner" {text}']
