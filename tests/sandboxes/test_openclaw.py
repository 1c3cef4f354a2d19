"""The gateway's config, as a value."""

import json
from typing import Any

from clawkakad.model import Profile
from clawkakad.sandboxes.openclaw import ModelLimits, gateway_config, profile_document, to_json

PROFILE = Profile(name="Asha", time_zone="Asia/Kolkata", currency="INR", language="en", country="IN")


def _config() -> Any:
    return gateway_config(token="t0k3n", profile=PROFILE, limits=ModelLimits())


def test_the_gateway_listens_on_loopback_and_wants_the_token() -> None:
    gateway = _config()["gateway"]

    assert "loopback" == gateway["bind"]
    assert {"mode": "token", "token": "t0k3n"} == gateway["auth"]
    assert "off" == gateway["reload"]["mode"]


def test_the_only_model_is_behind_the_host_api_and_its_key_is_none() -> None:
    models = _config()["models"]

    assert "replace" == models["mode"]
    (provider,) = models["providers"].values()
    assert "http://127.0.0.1:8080/v1" == provider["baseUrl"]
    assert "none-needed" == provider["apiKey"]
    assert ["assistant"] == [model["id"] for model in provider["models"]]
    assert "clawkaka/assistant" == _config()["agents"]["defaults"]["model"]["primary"]


def test_nothing_runs_by_itself() -> None:
    config = _config()

    assert "0m" == config["agents"]["defaults"]["heartbeat"]["every"]
    assert config["plugins"]["entries"]["memory-core"]["config"]["dreaming"]["enabled"] is False
    assert "off" == config["skills"]["workshop"]["autonomous"]["mode"]
    assert "off" == config["discovery"]["mdns"]["mode"]
    assert config["update"]["checkOnStart"] is False
    assert not any(config[part]["enabled"] for part in ("browser",))
    assert not any(config["gateway"][part]["enabled"] for part in ("controlUi", "terminal"))


def test_a_tool_that_keeps_failing_is_stopped() -> None:
    assert _config()["tools"]["loopDetection"]["enabled"] is True


def test_the_workspace_is_not_under_the_state_directory() -> None:
    assert "/data/workspace" == _config()["agents"]["defaults"]["workspace"]


def test_the_agent_knows_the_persons_time_zone() -> None:
    assert "Asia/Kolkata" == _config()["agents"]["defaults"]["userTimezone"]


def test_the_profile_is_written_as_pa_reads_it() -> None:
    document = json.loads(to_json(profile_document(PROFILE)))

    assert {
        "name": "Asha", "time_zone": "Asia/Kolkata", "currency": "INR", "language": "en", "country": "IN",
    } == document  # fmt: skip
