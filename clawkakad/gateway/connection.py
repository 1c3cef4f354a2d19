"""What the gateway of a sandbox can be asked, over one link to it: each question a method, each answer a value.

Decides nothing about turns (`turns.py`).
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from clawkakad.errors import GatewayRefused, GatewayUnavailable
from clawkakad.gateway.frames import Blocker, ChatAck, RunStatus, Suspension, Wire
from clawkakad.gateway.history import History, read_history
from clawkakad.gateway.link import REQUEST_S, Link
from clawkakad.gateway.runs import MAIN_SESSION, Outcome, outcome_of_wait
from clawkakad.gateway.session import printable, refusal

SESSION_KEY = "main"
"""The one session of a sandbox, in the short form that requests take."""

SUSPENSION = "clawkakad"
"""Names our suspension of a gateway. Asked again under the same name it is met again, so that any connection of ours,
a later daemon's too, can end it; the gateway itself ends it after two minutes."""

SUSPEND_S = 5.0
"""A gateway that does not say within this time that it can rest is not resting."""

W = TypeVar("W", bound=Wire)


class Connection(Link):
    """A connection that said hello-ok, or is about to. Made by `open_connection()`, closed by `aclose()`.

    Each question raises what `request` raises, and takes at most `timeout_s` seconds.
    """

    _suspension: str | None = None  # ours, under the id that the gateway gave it

    async def handshake(self) -> None:
        """Wait for hello-ok, then subscribe to the session: without that, a heartbeat's text is cut.

        One that was suspended before it was frozen, and goes on again, refuses to until it is told so.
        """
        await self.greeted()
        try:
            await self._subscribe()
        except GatewayUnavailable:
            await self.resume()
            await self._subscribe()

    async def _subscribe(self) -> None:
        await self.request("sessions.messages.subscribe", {"key": SESSION_KEY}, REQUEST_S)

    async def chat(self, run_id: str, text: str, *, timeout_s: float = REQUEST_S) -> ChatAck:
        """Start a turn, or meet it again: the same `run_id` never starts twice in one gateway process."""
        params = {
            "sessionKey": SESSION_KEY,
            "message": text,
            "idempotencyKey": run_id,
            "suppressCommandInterpretation": True,
        }
        response = await self.exchange("chat.send", params, timeout_s)
        if not response.ok and response.fields.get("status") != "error":
            raise refusal(response.error, "chat.send")
        return _read(ChatAck, response.fields)  # a run that failed before is refused, but with its end

    async def history(self, limit: int, *, run_ids: Sequence[str] = (), timeout_s: float = REQUEST_S) -> History:
        """The last `limit` rows of the session, and what is going on in it.

        `run_ids` (at most fifty): which of these it accepted and never began is told however long ago that was.
        """
        params: dict[str, Any] = {"sessionKey": SESSION_KEY, "limit": limit}
        if run_ids:
            params["inputRunIds"] = list(run_ids)
        return read_history(await self.request("chat.history", params, timeout_s))

    async def wait_run(self, run_id: str, timeout_s: float) -> Outcome | None:
        """How a run ended, waiting up to `timeout_s`; None if it has not, or if this gateway process never had it."""
        params = {"runId": run_id, "timeoutMs": max(int(timeout_s * 1000), 0)}
        payload = await self.request("agent.wait", params, timeout_s + REQUEST_S)
        return outcome_of_wait(run_id, _read(RunStatus, payload))

    async def abort(self, run_id: str, *, timeout_s: float = REQUEST_S) -> bool:
        """Stop a run; False if there was none to stop."""
        params = {"sessionKey": SESSION_KEY, "runId": run_id}
        return bool((await self.request("chat.abort", params, timeout_s)).get("aborted"))

    async def reset(self, *, timeout_s: float = REQUEST_S) -> None:
        """From now on the agent knows nothing of what was said: its session begins anew, and what runs in it ends.

        What of that was heard before anybody listened is dropped too.
        """
        await self.request("sessions.reset", {"key": SESSION_KEY}, timeout_s)
        self.forget_early()

    async def wake(self, text: str, *, timeout_s: float = REQUEST_S) -> None:
        """Ask for a heartbeat turn. It has no run id yet: its events tell."""
        await self.request("wake", {"mode": "now", "text": text, "sessionKey": MAIN_SESSION}, timeout_s)

    async def health(self, timeout_s: float) -> dict[str, Any]:
        """The gateway's own view of its health; what matters to a supervisor is that it answers in time."""
        return await self.request("health", {}, timeout_s)

    async def suspend(self) -> str:
        """Ask whether it may be frozen or stopped: empty if so, else what it is at, in words.

        From a yes on it refuses every other request, until `resume` or for two minutes. What the agent left running in
        the background counts, where the gateway started it. Raises `GatewayClosed`, `GatewayUnavailable`,
        `GatewayRefused`.
        """
        payload = await self.request("gateway.suspend.prepare", {"requestId": SUSPENSION}, SUSPEND_S)
        answer = _read(Suspension, payload)
        if answer.status == "ready":
            self._suspension = answer.suspension_id
            return ""
        blockers = answer.blockers or (Blocker(),)
        return printable(", ".join(sorted({blocker.kind for blocker in blockers})), 200)

    async def resume(self) -> None:
        """It is not frozen after all, or goes on after it was. Nothing happens where it is not suspended."""
        if self._suspension is None:
            await self.suspend()
        if self._suspension is not None:
            await self.request("gateway.suspend.resume", {"suspensionId": self._suspension}, SUSPEND_S)
        self._suspension = None


def _read(shape: type[W], payload: dict[str, Any]) -> W:
    try:
        return shape.model_validate(payload)
    except ValidationError:
        raise GatewayRefused(f"an answer in an unknown shape ({shape.__name__})", code="BAD_ANSWER") from None
