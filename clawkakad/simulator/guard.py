"""Who may talk to the simulator: it can write in everybody's name, so other web sites must not reach it.

A page on another site can send requests to 127.0.0.1, and by a changing DNS name even read the answers. So the Host
must be one of ours (against rebinding), and no request may come from another origin.
"""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def guard(names: frozenset[str] = LOOPBACK_NAMES) -> Middleware:
    """A middleware that lets through what is addressed to one of `names` (hosts without port) and is of this origin."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if host_of(request.headers.get("Host", "")) not in names:
            return web.Response(status=421, text="this simulator answers to its own address only\n")
        if not is_same_origin(request.headers.get("Origin"), request.headers.get("Host", "")):
            return web.Response(status=403, text="this simulator does not answer to other sites\n")
        return await handler(request)

    return middleware


def host_of(header: str) -> str:
    """The name or address in a Host header, without the port; an IPv6 address keeps its brackets."""
    if header.startswith("["):
        return header[: header.find("]") + 1].lower()
    return header.partition(":")[0].lower()


def is_same_origin(origin: str | None, host: str) -> bool:
    """Browsers name the origin of what they send; programs do not, and are trusted like anybody on this machine."""
    return origin is None or origin in (f"http://{host}", f"https://{host}")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """A signal handler: the headers that keep the page to itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
