"""What the fake gateway answers to each method, as the real one was seen to. Its state is in gateway.py."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.fakes import gateway_frames as frames
from tests.fakes.gateway_agent import Run
from tests.fakes.gateway_frames import Frame

if TYPE_CHECKING:
    from tests.fakes.gateway import FakeGateway

PENDING_SHOWN = 20
"""How many accepted messages a history shows, the newest first."""

CHAT_FIELDS = {"sessionKey", "message", "idempotencyKey", "suppressCommandInterpretation"}


async def _chat_send(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    unknown = set(params) - CHAT_FIELDS
    if unknown:
        return frames.refused(request_id, frames.error("INVALID_REQUEST", f"unexpected property {unknown}"))
    run_id, text = params["idempotencyKey"], params["message"]
    known = gateway.runs.get(run_id)
    if known is not None:
        return _met_again(known, request_id, text)
    if gateway.disk.pending.get(run_id) == "interrupted":
        return _met_again(Run(run_id, text, status="error", reply=frames.ORPHANED), request_id, text)
    ack = {"runId": run_id, "status": "started"}
    active = gateway.running()
    run = gateway.runs[run_id] = Run(run_id, text)
    if active:
        gateway.disk.add(frames.user_row(run_id, text, steered_into=active[0].run_id))
        active[0].steered.append(gateway.agent(text).text or "")
        run.task = gateway.spawn(gateway.end(run, "ok", "final"))
    else:
        gateway.disk.accept(run_id)
        run.task = gateway.spawn(gateway.work(run))
    return frames.answered(request_id, ack)


def _met_again(run: Run, request_id: str, text: str) -> Frame:
    if run.asked != text:
        return frames.refused(request_id, frames.CONFLICT)
    head = {"runId": run.run_id}
    if run.status == "error":
        problem = frames.error("UNAVAILABLE", run.reply)
        return frames.refused(request_id, problem, {**head, "status": "error", "summary": run.reply})
    if run.status == "aborted":
        return frames.answered(request_id, {**head, "status": "timeout", "summary": "aborted", "stopReason": "rpc"})
    return frames.answered(request_id, {**head, "status": {"running": "in_flight", "ok": "ok"}[run.status]})


async def _chat_history(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    running = gateway.running()
    pending = [{"id": key, "state": state, "runId": key} for key, state in reversed(gateway.disk.pending.items())]
    written = [run for run in running if run.written]
    info: Frame = {"key": frames.MAIN, "hasActiveRun": bool(running), "status": gateway.disk.status}
    payload: Frame = {
        "sessionKey": params["sessionKey"],
        "messages": gateway.disk.rows[-params["limit"] :],
        "pendingInputs": {"items": pending[:PENDING_SHOWN], "total": len(pending)},
        "hasMore": len(gateway.disk.rows) > params["limit"],
        "totalMessages": len(gateway.disk.rows),
        "sessionInfo": info,
    }
    if "inputRunIds" in params:
        named = [run_id for run_id in params["inputRunIds"] if run_id in gateway.disk.pending]
        payload["inputReceipts"] = [{"runId": run_id, "state": "pending"} for run_id in named]
    if written:
        payload["inFlightRun"] = {"runId": written[0].run_id, "text": "", "startedAt": frames.now_ms()}
    else:
        info["activeRunIds"] = [run.run_id for run in running]
    return frames.answered(request_id, payload)


async def _agent_wait(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    run = gateway.runs.get(params["runId"])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(params["timeoutMs"] / 1000):
            await (run.ended if run else asyncio.Event()).wait()
    head = {"runId": params["runId"]}
    if run is None or run.status == "running":
        return frames.answered(request_id, {**head, "status": "timeout"})
    if run.status == "ok":
        reply = {"disposition": "visible", "text": run.reply} if run.reply else {"disposition": "silent"}
        return frames.answered(request_id, {**head, "status": "ok", "terminalReply": reply})
    why = {"error": "aborted", "stopReason": "rpc"} if run.status == "aborted" else {"error": run.reply}
    return frames.answered(request_id, {**head, "status": "error", **why})


async def _chat_abort(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    run = gateway.runs.get(params["runId"])
    if run is None or run.status != "running":
        return frames.answered(request_id, {"ok": True, "aborted": False, "runIds": []})
    await gateway.abort(run)
    return frames.answered(request_id, {"ok": True, "aborted": True, "runIds": [run.run_id]})


async def _wake(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    gateway.spawn(gateway.beat(params["text"]))
    return frames.answered(request_id, {"ok": True})


async def _subscribe(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    return frames.answered(request_id, {"subscribed": True, "key": frames.MAIN})


async def _reset(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    for run in gateway.running():
        await gateway.abort(run)
    gateway.disk.reset(frames.reset_row())
    return frames.answered(request_id, {"ok": True, "key": frames.MAIN, "entry": {"systemSent": False}})


async def _health(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    return frames.answered(request_id, {"ok": True, "ts": frames.now_ms(), "durationMs": 1})


async def _suspend(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    """Under the same name it is the same suspension."""
    blockers = [*gateway.blockers, *["chat-run" for _ in gateway.running()]]
    if blockers:
        kinds = [{"kind": kind, "count": 1} for kind in blockers]
        payload = {"status": "busy", "reason": "active-work", "retryAfterMs": 20000, "blockers": kinds}
        return frames.answered(request_id, payload)
    if gateway.suspension not in (None, params["requestId"]):
        problem = frames.error("UNAVAILABLE", "another gateway suspension is already prepared")
        return frames.refused(request_id, {**problem, "retryable": True, "retryAfterMs": 119998})
    gateway.suspension = params["requestId"]
    payload = {"status": "ready", "suspensionId": f"id of {gateway.suspension}", "activeCount": 0, "blockers": []}
    return frames.answered(request_id, payload)


async def _resume(gateway: "FakeGateway", request_id: str, params: Frame) -> Frame:
    if gateway.suspension is not None and params["suspensionId"] != f"id of {gateway.suspension}":
        return frames.refused(request_id, frames.error("INVALID_REQUEST", "gateway suspension id does not match"))
    resumed, gateway.suspension = gateway.suspension is not None, None
    return frames.answered(request_id, {"ok": True, "status": "running", "resumed": resumed})


METHODS: dict[str, Callable[["FakeGateway", str, Frame], Awaitable[Frame]]] = {
    "chat.send": _chat_send,
    "chat.history": _chat_history,
    "chat.abort": _chat_abort,
    "agent.wait": _agent_wait,
    "wake": _wake,
    "sessions.messages.subscribe": _subscribe,
    "sessions.reset": _reset,
    "health": _health,
    "gateway.suspend.prepare": _suspend,
    "gateway.suspend.resume": _resume,
}
