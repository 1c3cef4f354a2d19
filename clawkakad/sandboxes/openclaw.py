"""The gateway's config and the person's profile file, as values. Pure: no I/O.

What is switched off here is what would cost money or reach out behind the daemon's back: the gateway has no channel,
no clock of its own, and no way to the model but the host API.
"""

import json
from dataclasses import dataclass

from clawkakad.model import Profile

MODEL_ID = "assistant"
"""The only model a sandbox knows; the host API puts the real one in its place."""

PROVIDER = "clawkaka"
TOOLS = ("exec", "process", "read", "write", "edit")
"""All that the agent gets: a shell and its files. The other fifty (schedules, computers, plugins …) reach for things
that a sandbox has not, and their descriptions double what every turn costs (55 to 30 KB of request, measured)."""

GATEWAY_PORT = 18789
MODEL_BASE_URL = "http://127.0.0.1:8080/v1"
"""The container's relay to `host.sock`."""

NO_KEY = "none-needed"
"""The gateway wants some key to send; who asks is known by the socket, so this one opens nothing."""


@dataclass(frozen=True)
class ModelLimits:
    """What the gateway may believe of the model behind the host API; tokens."""

    context_window: int = 128_000
    max_tokens: int = 8_192
    sees_images: bool = False


def gateway_config(*, token: str, profile: Profile, limits: ModelLimits) -> dict[str, object]:
    """The whole `openclaw.json` of one sandbox, for the gateway 2026.9.6."""
    return {
        "gateway": {
            "mode": "local",
            "port": GATEWAY_PORT,
            "bind": "loopback",
            "auth": {"mode": "token", "token": token},
            "controlUi": {"enabled": False},
            "terminal": {"enabled": False},
            "reload": {"mode": "off"},
        },
        "discovery": {"mdns": {"mode": "off"}},
        "update": {"checkOnStart": False},
        "models": {"mode": "replace", "providers": {PROVIDER: _provider(limits)}},
        "agents": {"defaults": _agent(profile)},
        "tools": {
            "allow": list(TOOLS),
            "toolSearch": {"enabled": False},
            "exec": {"mode": "full"},
            # Without it one failing tool call was repeated more than a thousand times.
            "loopDetection": {"enabled": True},
        },
        "browser": {"enabled": False},
        "plugins": {
            "allow": ["memory-core"],
            "entries": {"memory-core": {"enabled": True, "config": {"dreaming": {"enabled": False}}}},
        },
        "skills": {"workshop": {"autonomous": {"mode": "off"}}, "allowBundled": []},
    }


def profile_document(profile: Profile) -> dict[str, str | None]:
    """The profile as `pa` and the host API speak of it."""
    return {
        "name": profile.name,
        "time_zone": profile.time_zone,
        "currency": profile.currency,
        "language": profile.language,
        "country": profile.country,
    }


def to_json(document: object) -> str:
    """One way to write these files, so that equal values are equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _provider(limits: ModelLimits) -> dict[str, object]:
    return {
        "baseUrl": MODEL_BASE_URL,
        "apiKey": NO_KEY,
        "api": "openai-completions",
        "models": [
            {
                "id": MODEL_ID,
                "name": "Assistant",
                "reasoning": False,
                "input": ["text", "image"] if limits.sees_images else ["text"],
                "contextWindow": limits.context_window,
                "maxTokens": limits.max_tokens,
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},  # counted by the host API
            }
        ],
    }


def _agent(profile: Profile) -> dict[str, object]:
    return {
        # Beside the state directory, not in it: the gateway refuses sqlite3 under its state directory.
        "workspace": "/data/workspace",
        "skipBootstrap": True,
        "model": {"primary": f"{PROVIDER}/{MODEL_ID}"},
        "userTimezone": profile.time_zone,
        # The daemon owns the clock; a heartbeat of the gateway's own would reach nobody.
        "heartbeat": {"every": "0m", "target": "none"},
    }
