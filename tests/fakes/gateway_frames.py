"""The frames of the fake gateway, in the shapes that were recorded from the real one (tests/data/frames). No I/O."""

import time
from typing import Any
from uuid import uuid4

MAIN = "agent:main:main"
RECOVERY_TEXT = "[System] Your previous turn was interrupted by a gateway restart. Continue."

Frame = dict[str, Any]


def now_ms() -> int:
    return int(time.time() * 1000)


def event(name: str, payload: Frame) -> Frame:
    return {"type": "event", "event": name, "payload": payload}


def challenge() -> Frame:
    return event("connect.challenge", {"nonce": str(uuid4()), "ts": now_ms()})


def answered(request_id: str, payload: Frame) -> Frame:
    return {"type": "res", "id": request_id, "ok": True, "payload": payload}


def refused(request_id: str, error: Frame, payload: Frame | None = None) -> Frame:
    frame: Frame = {"type": "res", "id": request_id, "ok": False, "error": error}
    return frame if payload is None else {**frame, "payload": payload}


def error(code: str, message: str, **more: Any) -> Frame:
    return {"code": code, "message": message, **more}


STARTING = error(
    "UNAVAILABLE",
    "gateway starting; retry shortly",
    retryable=True,
    retryAfterMs=50,
    details={"reason": "startup-sidecars"},
)
SUSPENDED = error(
    "UNAVAILABLE",
    "unavailable during gateway suspension",
    retryable=True,
    retryAfterMs=50,
    details={"reason": "gateway-suspending", "phase": "prepared"},
)
BAD_TOKEN = error(
    "INVALID_REQUEST",
    "unauthorized: gateway token mismatch (provide gateway auth token)",
    details={"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch"},
)
BAD_PROTOCOL = error("INVALID_REQUEST", "protocol mismatch", details={"code": "PROTOCOL_MISMATCH"})
CONFLICT = error(
    "INVALID_REQUEST",
    "This message ID was already used for different input.",
    details={"reason": "chat-request-conflict"},
)


ORPHANED = "Error: Pending input ownership ended; submit a new turn to continue"
DRAINING = "Gateway is draining; new tasks are not accepted"


def hello_ok(boot_id: str, scopes: list[str], tick_s: float, protocol: int) -> Frame:
    return {
        "type": "hello-ok",
        "protocol": protocol,
        "server": {"version": "2026.9.6", "bootId": boot_id, "connId": str(uuid4())},
        "snapshot": {"sessionDefaults": {"mainSessionKey": MAIN}},
        "auth": {"method": "token", "role": "operator", "scopes": scopes},
        "policy": {"maxPayload": 26214400, "maxBufferedBytes": 52428800, "tickIntervalMs": tick_s * 1000},
    }


def reset_row() -> Frame:
    """All that is left of what was said before a reset."""
    said = [{"type": "text", "text": "Reset"}]
    return {"role": "system", "content": said, "timestamp": now_ms(), "__openclaw": {"kind": "reset", "seq": 1}}


def message(text: str) -> Frame:
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "timestamp": now_ms()}


def chat(run_id: str, seq: int, state: str, **more: Any) -> Frame:
    return event("chat", {"runId": run_id, "sessionKey": MAIN, "agentId": "main", "seq": seq, "state": state, **more})


def agent(run_id: str, seq: int, stream: str, data: Frame, *, heartbeat: bool) -> Frame:
    head = {"runId": run_id, "sessionKey": MAIN, "agentId": "main", "stream": stream}
    return event("agent", {**head, "data": data, "seq": seq, "ts": now_ms(), "isHeartbeat": heartbeat})


def heartbeat_silent() -> Frame:
    more = {"indicatorType": "ok", "silent": True, "durationMs": 383}
    return event("heartbeat", {"ts": now_ms(), "status": "ok-empty", "reason": "wake", **more})


def heartbeat_spoke(text: str) -> Frame:
    more = {"preview": text[:200], "reason": "target-none", "hasMedia": False, "durationMs": 4392}
    return event("heartbeat", {"ts": now_ms(), "status": "skipped", **more})


def heartbeat_skipped(reason: str) -> Frame:
    return event("heartbeat", {"ts": now_ms(), "status": "skipped", "reason": reason})


def user_row(run_id: str, text: str, *, recovery: bool = False, steered_into: str | None = None) -> Frame:
    key = f"{run_id}:user"
    row: Frame = {"role": "user", "content": text, "timestamp": now_ms(), "idempotencyKey": key}
    row["__openclaw"] = {"id": str(uuid4()), "idempotencyKey": key}
    if steered_into:
        row["__openclaw"]["steerTargetRunId"] = steered_into
    if recovery:
        row["provenance"] = {"kind": "internal_system", "sourceTool": "main_session_restart_recovery"}
    return row


def assistant_row(run_id: str, text: str, *, stop: str = "stop", aborted: bool = False) -> Frame:
    row = {**message(text), "stopReason": stop, "__openclaw": {"id": str(uuid4()), "runId": run_id}}
    if aborted:
        row["openclawAbort"] = {"aborted": True, "origin": "rpc", "runId": run_id}
    return row


def failed_row(run_id: str, text: str) -> Frame:
    origin = {"id": str(uuid4()), "runId": run_id}
    content = f"This turn ended before a reply: {text}"
    row: Frame = {"role": "custom", "customType": "run-failed-before-reply", "content": content}
    return {**row, "timestamp": now_ms(), "__openclaw": origin}
