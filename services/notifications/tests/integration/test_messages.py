"""Messages: who is told what, once each."""

from typing import Any

from testkit import wait_until


async def test_a_member_is_told_of_points_earned(world: Any) -> None:
    async with world.running():
        await world.open_shop("m-1")
        await world.publish(world.entry("m-1", change=11))
        await wait_until(lambda: world.mail.mails)
    (mail,) = world.mail.mails
    assert mail["Subject"] == "You earned 11 points"
    assert mail["To"] == "M-1 <m-1@example.com>"
    assert mail["From"] == "points@shop.example"
    text = mail.get_body(("plain",)).get_content()
    assert "Hello M-1," in text
    assert "with order o-1" in text
    assert "Your balance with corner: 101 points." in text
    assert "Hello M-1" in mail.get_body(("html",)).get_content()
    ((delivery, state, attempts),) = await world.query("SELECT delivery, state, attempts FROM delivery")
    assert (state, attempts) == ("sent", 1)
    assert mail["Message-ID"] == f"<{delivery}@shop.example>"
