"""Who is asked over the network: the daemon itself, WhatsApp, the model."""

import contextlib

import aiohttp
from yarl import URL

from clawkakad.cli.checks.finding import SETTINGS_FIRST, Finding, Patient, log_advice, start_advice
from clawkakad.config import ModelKind, Settings
from clawkakad.errors import GraphRejected, GraphUnavailable
from clawkakad.log import redact
from clawkakad.whatsapp.errors import rule_of
from clawkakad.whatsapp.graph import GraphClient
from clawkakad.whatsapp.origin import Unreached

REFUSED = "look at WHATSAPP_SENDER_PHONE_NUMBER_ID and WHATSAPP_ACCESS_TOKEN"
MODEL_REFUSED = "look at MODEL_API_KEY, OPENROUTER_API_KEY and MODEL_BASE_URL"
SILENT = "try again; if it stays so, restart that part, or look at the way to it"
ONE_OF_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (every address to listen on, and the one to ask)


async def daemon(patient: Patient) -> Finding:
    if patient.settings is None:
        return SETTINGS_FIRST
    try:
        status = await _get(_health_url(patient.settings), {})
    except (aiohttp.ClientError, OSError):
        return Finding("warn", f"nothing answers on port {patient.settings.port}", start_advice(patient))
    if status != 200:
        return Finding("fail", f"answers {status}", log_advice(patient))
    return Finding("ok", "running")


def _health_url(s: Settings) -> URL:
    return URL.build(scheme="http", host=ONE_OF_ALL.get(s.host, s.host), port=s.port, path="/healthz")


async def whatsapp(patient: Patient) -> Finding:
    if patient.settings is None:
        return SETTINGS_FIRST
    try:
        async with contextlib.aclosing(GraphClient.of(patient.settings)) as graph:
            await graph.probe()
    except GraphRejected as error:
        return Finding("fail", redact(str(error)), rule_of(error.code).advice or REFUSED)
    except GraphUnavailable as error:
        if patient.is_trial and isinstance(error.__cause__, Unreached):
            return Finding("warn", "the simulated one does not run", start_advice(patient))
        return Finding("fail", redact(str(error)), "try again later")
    return Finding("ok", "reached, and takes the token and the number's id")


async def model(patient: Patient) -> Finding:
    if patient.settings is None:
        return SETTINGS_FIRST
    s = patient.settings
    if s.model_kind is ModelKind.OFFLINE:
        return Finding(
            "warn", "the offline model: fixed rules, no intelligence", "set OPENROUTER_API_KEY, or MODEL_BASE_URL"
        )
    key = s.model_api_key if s.model_base_url else s.openrouter_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    status = await _get(model_url(s), headers)
    if status != 200:
        return Finding("fail", f"answers {status}", MODEL_REFUSED if status < 500 else SILENT)
    return Finding("ok", f"{s.model_kind.value}: reached")


def model_url(s: Settings) -> str:
    return f"{s.model_base_url or s.openrouter_base_url}/models"


async def _get(url: str | URL, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status
