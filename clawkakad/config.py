"""Settings: read once from the environment, checked as a whole, then passed as an argument.

Every setting is a field below; its alias is the name in the environment. `NAME_FILE`, or a systemd credential called
NAME, may hold the value instead. An unknown CLAWKAKA_ name is an error (it is usually a typo). All problems are
reported at once, before anything is opened. The table in the README is compared with this module by a test.
"""

import os
from collections.abc import Mapping
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from clawkakad.errors import ConfigError
from clawkakad.values import Directory, DiskQuota, Host, Hours, Identifiers, Secret, Secrets, SocketDirectory, Url

PATTERNED = {  # what a setting with a pattern must be
    "WHATSAPP_SENDER_PHONE_NUMBER_ID": "must be digits alone: the id that Meta shows for the number, not the number",
    "WHATSAPP_API_VERSION": "must look like v25.0",
    "DOCKER_HOST": "must begin with unix:// or http://, such as unix:///var/run/docker.sock",
    "CLAWKAKA_SANDBOX_RUNTIME": "must be the name of a runtime, such as runsc",
    "CLAWKAKA_LOG": "must be 'auto', 'human' or 'json'",
    "CLAWKAKA_LOG_LEVEL": "must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
}
IN_WORDS = {  # by the type of pydantic's error
    "enum": "must be {expected}",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "too_short": "names nothing",
}


class Access(StrEnum):
    """Who may write to the assistant."""

    LISTED = "listed"  # only the people in CLAWKAKA_ALLOW
    OPEN = "open"  # everybody who finds the number; each costs a container


class OldMessages(StrEnum):
    """What becomes of a message that reaches the agent long after it was written."""

    ANSWER = "answer"
    SKIP = "skip"


class Strangers(StrEnum):
    """What somebody hears who is not let in."""

    LINE = "line"
    SILENT = "silent"


class ModelKind(StrEnum):
    """Where the model is."""

    OPENROUTER_PER_PERSON = "openrouter, a key per person"
    OPENROUTER = "openrouter, one key"
    COMPATIBLE = "an OpenAI-compatible server"
    OFFLINE = "the offline model"


class Settings(BaseModel):
    """Everything that an operator can set. What two fields say together is checked at the later one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    app_secrets: Secrets = Field(
        alias="WHATSAPP_APP_SECRET",
        description="The app secret of your Meta app; unsigned webhooks are refused. Several with commas, to rotate.",
    )
    access_token: Secret = Field(alias="WHATSAPP_ACCESS_TOKEN", description="A system user's token for the Graph API.")
    verification_token: Secret = Field(
        alias="WHATSAPP_VERIFICATION_TOKEN", description="The word that you type into Meta's webhook form."
    )
    phone_number_id: str = Field(
        alias="WHATSAPP_SENDER_PHONE_NUMBER_ID",
        pattern=r"^\d+$",
        description="The id (not the number) of the number that your assistant has.",
    )
    api_base_url: Url = Field(
        "https://graph.facebook.com", alias="WHATSAPP_API_BASE_URL", description="Where the Graph API is."
    )
    api_version: str = Field(
        "v25.0", alias="WHATSAPP_API_VERSION", pattern=r"^v\d+\.\d+$", description="The version of the Graph API."
    )

    openrouter_provisioning_key: Secret | None = Field(
        None,
        alias="OPENROUTER_PROVISIONING_KEY",
        description="Makes a model key for each person, with a monthly limit.",
    )
    openrouter_api_key: Secret | None = Field(
        None, alias="OPENROUTER_API_KEY", description="One model key for everybody, where there is no provisioning key."
    )
    openrouter_base_url: Url = Field(
        "https://openrouter.ai/api/v1", alias="OPENROUTER_BASE_URL", description="Where OpenRouter is."
    )
    model_base_url: Url | None = Field(
        None, alias="MODEL_BASE_URL", description="Any OpenAI-compatible server instead, such as a local Ollama."
    )
    model_api_key: Secret | None = Field(
        None, alias="MODEL_API_KEY", description="The key of that server, if it has one."
    )
    model: str | None = Field(
        None,
        alias="MODEL",
        validate_default=True,
        description="The model's name, at OpenRouter (if unset: `openrouter/auto`) or at MODEL_BASE_URL."
        " With no key and no server: the offline model answers.",
    )
    key_limit_usd: float = Field(
        5.0,
        alias="CLAWKAKA_KEY_LIMIT_USD",
        gt=0,
        description="Monthly limit of each person's model key, in US dollars.",
    )

    gateway_token: Secret | None = Field(
        None,
        alias="OPENCLAW_GATEWAY_TOKEN",
        description="The installation's secret, from which each sandbox's token is derived. Made if absent.",
    )
    host: Host = Field("127.0.0.1", alias="CLAWKAKA_HOST", description="The address that the webhook listens on.")
    port: int = Field(3001, alias="PORT", ge=1, le=65535, description="The port that the webhook listens on.")
    state_dir: Directory = Field(
        Path("/var/lib/clawkakad"), alias="CLAWKAKA_STATE_DIR", description="Where the registry and the keys are."
    )
    runtime_dir: SocketDirectory = Field(
        Path("/run/clawkakad"), alias="CLAWKAKA_RUNTIME_DIR", description="Where the sockets are; keep it short."
    )

    access: Access = Field(
        Access.LISTED, alias="CLAWKAKA_ACCESS", description="`listed`: only CLAWKAKA_ALLOW. `open`: everybody."
    )
    allow: Identifiers = Field(
        (),
        alias="CLAWKAKA_ALLOW",
        validate_default=True,
        description="Who is let in, where listed: phone numbers with country code, or Meta's user ids (US.1349…),"
        " with commas.",
    )

    engine: str = Field(
        "unix:///var/run/docker.sock",
        alias="DOCKER_HOST",
        pattern="^(unix|http)://",
        description="Where the Docker engine is, on this machine.",
    )
    image: str = Field(
        "clawkaka-sandbox:latest", alias="CLAWKAKA_IMAGE", min_length=1, description="The sandbox image."
    )
    sandbox_memory_mb: int = Field(
        1280,
        alias="CLAWKAKA_SANDBOX_MEMORY_MB",
        ge=1024,
        description="Memory limit of a sandbox, in MiB, where it has no swap: on a host without, or without dozing.",
    )
    sandbox_memory_with_swap_mb: int = Field(
        512,
        alias="CLAWKAKA_SANDBOX_MEMORY_WITH_SWAP_MB",
        ge=384,
        le=2048,
        description="Memory limit of a sandbox, in MiB, where it has swap: 2048 with both together.",
    )
    doze_after_minutes: float = Field(
        10,
        alias="CLAWKAKA_DOZE_AFTER_MINUTES",
        ge=0,
        description="After so many minutes without need a sandbox is frozen and its memory goes to swap; 0: never.",
    )
    sleep_after_hours: float = Field(
        12,
        alias="CLAWKAKA_SLEEP_AFTER_HOURS",
        ge=0,
        description="After so many hours without need a sandbox is stopped until it is needed; 0: never.",
    )
    memory_reserve_mb: int = Field(
        512,
        alias="CLAWKAKA_MEMORY_RESERVE_MB",
        ge=0,
        description="Memory of the host to be kept free, in MiB: below it sandboxes rest earlier, and none wakes.",
    )
    spares: int = Field(
        1,
        alias="CLAWKAKA_SPARES",
        ge=0,
        le=4,
        description="How many sandboxes are kept ready for newcomers, frozen; needs swap. 0: none.",
    )
    sandbox_cpus: float = Field(
        2.0, alias="CLAWKAKA_SANDBOX_CPUS", gt=0, description="How many CPUs a sandbox may use."
    )
    sandbox_disk_mb: DiskQuota = Field(
        2048,
        alias="CLAWKAKA_SANDBOX_DISK_MB",
        ge=0,
        description="How much a sandbox may keep on the disk, in MiB; with more it is stopped. 0: no limit.",
    )
    sandbox_runtime: str | None = Field(
        None,
        alias="CLAWKAKA_SANDBOX_RUNTIME",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="A runtime of your engine for sandboxes, such as `runsc` (gVisor) or `kata`; empty: its own.",
    )

    turn_timeout_s: int = Field(
        600, alias="CLAWKAKA_TURN_TIMEOUT_S", ge=10, description="After this many seconds a turn is given up."
    )
    heartbeat_minutes: float = Field(
        30, alias="CLAWKAKA_HEARTBEAT_MINUTES", ge=0, description="Minutes between heartbeats; 0 switches them off."
    )
    active_hours: Hours = Field(
        (time(8), time(22)),
        alias="CLAWKAKA_ACTIVE_HOURS",
        description="When the assistant may speak up by itself, in the person's own time zone.",
    )
    heartbeats_per_day: int = Field(
        4, alias="CLAWKAKA_HEARTBEATS_PER_DAY", ge=0, description="Most unasked messages to a person in 24 hours."
    )
    burst_s: float = Field(
        1.0,
        alias="CLAWKAKA_BURST_S",
        ge=0,
        le=30,
        description="Messages that follow one another within so many seconds are answered together; 0: each by itself.",
    )
    still_on_it_s: float = Field(
        60,
        alias="CLAWKAKA_STILL_ON_IT_S",
        ge=0,
        description="After so many seconds without an answer the person is told once that it takes longer; 0: never.",
    )
    old_after_hours: float = Field(
        6,
        alias="CLAWKAKA_OLD_AFTER_HOURS",
        ge=0,
        description="A message that reaches the agent so many hours after it was written counts as old; 0: none does.",
    )
    old_messages: OldMessages = Field(
        OldMessages.ANSWER,
        alias="CLAWKAKA_OLD_MESSAGES",
        description="Old messages: `answer`: the agent is told when they were written. `skip`: the person gets a line.",
    )
    messages_per_hour: int = Field(
        240,
        alias="CLAWKAKA_MESSAGES_PER_HOUR",
        ge=0,
        description="Most messages of one person in an hour; more are kept and not answered. 0: no limit.",
    )
    strangers: Strangers = Field(
        Strangers.LINE,
        alias="CLAWKAKA_STRANGERS",
        description="Who is not let in gets one polite `line` a day, or is met with silence: `silent`.",
    )
    sends_per_s: float = Field(
        80, alias="CLAWKAKA_SENDS_PER_S", gt=0, description="Most messages of your number in a second; Meta's limit."
    )
    settle_s: float = Field(
        60,
        alias="CLAWKAKA_SETTLE_S",
        ge=0,
        description="How long a send with unknown outcome waits for Meta's status, in seconds.",
    )
    resends: int = Field(
        1,
        alias="CLAWKAKA_RESENDS",
        ge=0,
        le=10,
        description="How often after that wait a message younger than ten minutes is sent again, before it is held.",
    )

    log_format: str = Field(
        "auto",
        alias="CLAWKAKA_LOG",
        pattern="^(auto|human|json)$",
        description="`human`, `json`, or `auto`: human on a terminal.",
    )
    log_level: str = Field(
        "INFO", alias="CLAWKAKA_LOG_LEVEL", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level shown."
    )

    @field_validator("model")
    @classmethod
    def _is_named_for_a_server(cls, model: str | None, others: ValidationInfo) -> str | None:
        if model is None and others.data.get("model_base_url") is not None:
            raise ValueError("is not set: MODEL_BASE_URL needs the name of a model there")
        return model

    @field_validator("allow")
    @classmethod
    def _lets_somebody_in(cls, allow: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        if not allow and others.data.get("access") is Access.LISTED:
            raise ValueError("nobody is let in: name the numbers that may write (or set CLAWKAKA_ACCESS=open)")
        return allow

    @property
    def model_kind(self) -> ModelKind:
        """Which of the ways to a model these settings choose."""
        if self.model_base_url is not None:
            return ModelKind.COMPATIBLE
        if self.openrouter_provisioning_key is not None:
            return ModelKind.OPENROUTER_PER_PERSON
        if self.openrouter_api_key is not None:
            return ModelKind.OPENROUTER
        return ModelKind.OFFLINE


class Place(BaseModel):
    """The few settings that commands need, also where no daemon is configured: where things are, and whose keys."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    state_dir: Path = Field(Path("/var/lib/clawkakad"), alias="CLAWKAKA_STATE_DIR")
    runtime_dir: Path = Field(Path("/run/clawkakad"), alias="CLAWKAKA_RUNTIME_DIR")
    engine: str = Field("unix:///var/run/docker.sock", alias="DOCKER_HOST", pattern="^(unix|http)://")
    image: str = Field("clawkaka-sandbox:latest", alias="CLAWKAKA_IMAGE", min_length=1)
    openrouter_provisioning_key: Secret | None = Field(None, alias="OPENROUTER_PROVISIONING_KEY")
    openrouter_base_url: Url = Field("https://openrouter.ai/api/v1", alias="OPENROUTER_BASE_URL")


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the daemon. Raises ConfigError with all problems, one a line."""
    values, problems = _collect(environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        told = {problem.partition(":")[0] for problem in problems}  # what cannot be read is not told as absent too
        found = [_in_words(e) for e in error.errors()]
        problems += [problem for problem in found if problem.partition(":")[0] not in told]
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def load_place(environ: Mapping[str, str] = os.environ) -> Place:
    """Where state, sockets and the image are. Raises ConfigError."""
    values, problems = _collect(environ)
    if problems:
        raise ConfigError("\n".join(problems))
    try:
        return Place.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_in_words(e) for e in error.errors())) from error


def names() -> dict[str, str]:
    """Every setting's name and what it is for, in the order of the README's table."""
    return {str(field.alias): str(field.description) for field in Settings.model_fields.values()}


def _collect(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The settings that are set, and problems with how. Empty means unset."""
    values: dict[str, str] = {}
    problems: list[str] = []
    known = names()
    for name in known:
        try:
            value = _value(name, environ)
        except (OSError, UnicodeDecodeError) as error:
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else "it is not text"
            problems.append(f"{name}: its file cannot be read: {why}")
            continue
        if value:
            values[name] = value
    problems += [
        f"{name}: there is no such setting; see the table in the README"
        for name in environ
        if name.startswith("CLAWKAKA_") and name.removesuffix("_FILE") not in known
    ]
    return values, problems


def _value(name: str, environ: Mapping[str, str]) -> str:
    """The variable itself, else the file it names, else a systemd credential of that name."""
    if environ.get(name):
        return environ[name].strip()
    path = environ.get(f"{name}_FILE")
    if path:
        return Path(path).read_text(encoding="utf-8").strip()
    credential = Path(environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / name
    return credential.read_text(encoding="utf-8").strip() if credential.is_file() else ""


def _in_words(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    if name in Settings.model_fields:  # a default: pydantic calls it by the field's name
        name = str(Settings.model_fields[name].alias)
    if error["type"] == "missing":
        return f"{name}: is not set: {names().get(name, '')}"
    if error["type"] == "string_pattern_mismatch":
        return f"{name}: {PATTERNED[name]}"
    if error["type"] in IN_WORDS:
        return f"{name}: {IN_WORDS[error['type']].format(**error.get('ctx', {}))}"
    return f"{name}: {str(error['msg']).removeprefix('Value error, ')}"
