"""The page and the JSON beside it. A mail's HTML is shown in a frame that may run, load and follow nothing."""

from dataclasses import asdict
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from devmail.store import Mailbox, body, parse

PAGE = 100
MOST = 1_000

_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; base-uri 'none'"
_MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Of what somebody else wrote: an origin of its own that may load nothing and run nothing."""

_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class Pages:
    """What the browser and the demo see of a mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        folder = resources.files("devmail").joinpath("templates")
        templates = {
            name: folder.joinpath(name).read_text("utf-8") for name in ("frame.html", "list.html", "mail.html")
        }
        self._mailbox = mailbox
        self._environment = Environment(loader=DictLoader(templates), autoescape=True)

    def _page(self, name: str, **told: Any) -> Response:
        html = self._environment.get_template(name).render(**told)
        return HTMLResponse(html, headers={**_SAFE, "Content-Security-Policy": _PAGE_POLICY})

    async def index(self, request: Request) -> Response:
        """The list."""
        text, before = request.query_params.get("q", ""), _number(request, "before")
        mails = self._mailbox.page(text=text, before=before, limit=PAGE + 1)
        received, repeated = self._mailbox.tally()
        return self._page(
            "list.html",
            mails=mails[:PAGE],
            older=mails[PAGE - 1].id if len(mails) > PAGE else None,
            text=text,
            received=received,
            repeated=repeated,
        )

    async def show(self, request: Request) -> Response:
        """One e-mail."""
        mail_id = int(request.path_params["id"])
        mail, raw = self._mailbox.get(mail_id), self._mailbox.raw(mail_id)
        if mail is None or raw is None:
            return _missing()
        message = parse(raw)
        headers = [(name, str(value)) for name, value in message.raw_items()]
        return self._page(
            "mail.html", mail=mail, headers=headers, text=body(message, "plain"), html=body(message, "html") is not None
        )

    async def html(self, request: Request) -> Response:
        """An e-mail's HTML, for the frame."""
        raw = self._mailbox.raw(int(request.path_params["id"]))
        if raw is None:
            return _missing()
        return HTMLResponse(body(parse(raw), "html") or "", headers={**_SAFE, "Content-Security-Policy": _MAIL_POLICY})

    async def source(self, request: Request) -> Response:
        """An e-mail as it came over the wire."""
        raw = self._mailbox.raw(int(request.path_params["id"]))
        return _missing() if raw is None else PlainTextResponse(raw.decode("utf-8", "replace"), headers=_SAFE)

    async def listing(self, request: Request) -> Response:
        """The list as JSON."""
        limit = max(1, min(_number(request, "limit") or 50, MOST))
        mails = self._mailbox.page(
            text=request.query_params.get("q", ""),
            to=request.query_params.get("to", ""),
            before=_number(request, "after"),
            limit=limit + 1,
        )
        received, repeated = self._mailbox.tally()
        return JSONResponse(
            {
                "messages": [asdict(mail) for mail in mails[:limit]],
                "next": mails[limit - 1].id if len(mails) > limit else None,
                "received": received,
                "repeated": repeated,
            },
            headers=_SAFE,
        )

    async def one(self, request: Request) -> Response:
        """One e-mail as JSON."""
        mail_id = int(request.path_params["id"])
        mail, raw = self._mailbox.get(mail_id), self._mailbox.raw(mail_id)
        if mail is None or raw is None:
            return JSONResponse({"detail": "there is no such e-mail"}, 404, headers=_SAFE)
        message = parse(raw)
        content = {"text": body(message, "plain"), "html": body(message, "html")}
        return JSONResponse(asdict(mail) | content, headers=_SAFE)

    async def count(self, _: Request) -> Response:
        """How many e-mails came, and how many different ones."""
        received, repeated = self._mailbox.tally()
        return JSONResponse({"messages": received, "distinct_ids": received - repeated}, headers=_SAFE)

    async def clear(self, _: Request) -> Response:
        """Forget everything."""
        self._mailbox.clear()
        return Response(status_code=204)


def create_app(mailbox: Mailbox) -> Starlette:
    """The application."""
    pages = Pages(mailbox)
    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/mails/{id:int}", pages.show),
            Route("/mails/{id:int}/html", pages.html),
            Route("/mails/{id:int}/raw", pages.source),
            Route("/api/messages", pages.listing),
            Route("/api/messages", pages.clear, methods=["DELETE"]),
            Route("/api/messages/{id:int}", pages.one),
            Route("/api/count", pages.count),
        ]
    )


def _number(request: Request, name: str) -> int | None:
    value = request.query_params.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None


def _missing() -> Response:
    return PlainTextResponse("There is no such e-mail.", 404, headers=_SAFE)
