"""Raw HTTP over raw sockets: what a well-behaved client library would never send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from clawkakad.web.answer import Answer
from clawkakad.web.request import Request


@dataclass
class Open:
    """A site that refuses nobody by the head of a request, and answers as it is told."""

    answer: Callable[[Request], Awaitable[Answer]]

    def refuse(self, _: Request) -> Answer | None:
        return None


@dataclass
class Wire:
    """A client's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, within_s: float = 5) -> tuple[int, dict[str, str], bytes]:
        """One response: status, headers with lower-case names, body."""
        async with asyncio.timeout(within_s):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(lines[0].split()[1]), headers, body

    async def answered(self) -> bool:
        """Whether an answer comes, rather than the end of the connection."""
        try:
            await self.answer()
        except (ConnectionError, asyncio.IncompleteReadError):
            return False
        return True

    async def ended(self, *, within_s: float = 5) -> bytes:
        """What came until the server closed or reset the connection."""
        received = b""
        async with asyncio.timeout(within_s):
            with suppress(ConnectionError):
                while chunk := await self.reader.read(65536):
                    received += chunk
        return received


@asynccontextmanager
async def wire(port: int, host: str = "127.0.0.1", *, source: str | None = None) -> AsyncIterator[Wire]:
    """A connection to a server on this machine, from the address `source` if given."""
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0) if source else None)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def post(path: str, body: bytes, **headers: str) -> bytes:
    """A whole POST as bytes; underscores in header names become hyphens."""
    fields = {"Host": "test", "Content-Length": str(len(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
