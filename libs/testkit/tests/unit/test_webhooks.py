"""The receiver of webhooks: what was cut off on its way has not come."""

import socket
from urllib.parse import urlsplit

import httpx

from testkit.webhooks import Receiver


def test_what_was_cut_off_has_not_come() -> None:
    with Receiver() as receiver:
        where = urlsplit(receiver.url)
        with socket.create_connection((where.hostname, where.port)) as cut:
            cut.sendall(b"POST /hook HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nha")
            cut.shutdown(socket.SHUT_WR)
            assert cut.recv(100) == b""
        assert httpx.post(receiver.url, content=b"half").status_code == 204
        assert [call.body for call in receiver.calls] == [b"half"]
