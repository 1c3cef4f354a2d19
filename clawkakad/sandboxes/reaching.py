"""Reaching the gateway of a container that was started or let go on: one try after the other, until `hello-ok`.

Its directory is sealed as soon as the socket is there. A container that has ended is not waited for.
"""

import time
from collections.abc import Awaitable, Callable

from clawkakad.allowance import Allowance
from clawkakad.errors import EngineUnavailable, GatewayUnavailable
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.dialing import open_connection
from clawkakad.model import SandboxId
from clawkakad.sandboxes.backoff import delays
from clawkakad.sandboxes.builder import HAS_PROCESSES, Builder

LONGEST_ASKED_S = 5.0  # that a gateway may make us wait before another try


class Ended(GatewayUnavailable):
    """There is no process to connect to."""


async def reach(
    builder: Builder,
    sandbox_id: SandboxId,
    *,
    within_s: float,
    attempt_s: float,
    owner_uids: frozenset[int],
    pause: Callable[[float], Awaitable[bool]],
    allowance: Allowance | None = None,
) -> Connection:
    """A connection that said hello-ok. `pause` waits, and says whether to look at the container before the next try.

    Raises GatewayUnavailable after `within_s`, Ended, GatewayRefused, SandboxTampered.
    """
    deadline, pauses = time.monotonic() + within_s, delays(0.2, 2.0)
    where, token = builder.paths(sandbox_id).gateway_socket, builder.token_of(sandbox_id)
    while True:
        left_s = deadline - time.monotonic()
        try:
            builder.seal_if_bound(sandbox_id)
            timeout_s = max(0.1, min(attempt_s, left_s))
            return await open_connection(where, token, owner_uids=owner_uids, timeout_s=timeout_s, allowance=allowance)
        except GatewayUnavailable as error:
            asked_s = min(error.retry_after_s or 0.0, LONGEST_ASKED_S)
            if left_s <= 0:
                raise GatewayUnavailable(f"no hello-ok within {within_s:.0f} s: {error}") from error
        if await pause(max(asked_s, next(pauses))):
            await _require_processes(builder, sandbox_id)


async def _require_processes(builder: Builder, sandbox_id: SandboxId) -> None:
    try:
        found = await builder.find(sandbox_id)
    except EngineUnavailable:
        return  # its silence says nothing about the container
    if found is None or found.status not in HAS_PROCESSES:
        code = "" if found is None else f" with exit code {found.exit_code}"
        raise Ended(f"the container ended{code}")
