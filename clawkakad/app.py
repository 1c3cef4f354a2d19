"""The composition root: what is built, in what order, and how it stops.

Nothing else in the package reads the environment, opens a resource at import, or reaches for a global. Read `serve`
as the table of contents. Stopping is the reverse of starting, each step with a deadline; containers live on.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from loguru import logger

from clawkakad import __version__
from clawkakad.assistant import words
from clawkakad.assistant.agent import GatewayAgent
from clawkakad.assistant.conversation import Conversations
from clawkakad.assistant.heartbeat import Heartbeats
from clawkakad.assistant.late import LateAnswers
from clawkakad.assistant.missed import MissedAnswers
from clawkakad.assistant.presence import Presence
from clawkakad.assistant.reminders import ReminderClock
from clawkakad.assistant.services import PaServices
from clawkakad.assistant.turnbook import Rules
from clawkakad.config import ModelKind, OldMessages, Settings
from clawkakad.delivery.delivery import Delivery, SendRules
from clawkakad.delivery.receipts import Receipts
from clawkakad.directories import OUTLIVES, RUNTIME_MARKS, STATE_MARKS, claim
from clawkakad.errors import RegistryUnavailable
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.turns import Turns
from clawkakad.intake.access import Door
from clawkakad.intake.filing import Filing
from clawkakad.intake.intake import Intake
from clawkakad.intake.limits import Limits
from clawkakad.intake.listening import Listening
from clawkakad.loops import Loops
from clawkakad.notify import notify, watchdog_interval_s
from clawkakad.registry import FILE, Registry, locked, open_registry
from clawkakad.registry.logroom import LOG_ROOM
from clawkakad.sandboxes import secrets
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.disk import Quota
from clawkakad.sandboxes.diskwatch import DiskWatch
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.gauge import Gauge
from clawkakad.sandboxes.hostapi import HostApi
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.ledger import Lines
from clawkakad.sandboxes.modelkeys import KeySource, ProvisionedKeys, SharedKey
from clawkakad.sandboxes.modelproxy import ModelProxy, Upstream, open_upstream
from clawkakad.sandboxes.openclaw import ModelLimits
from clawkakad.sandboxes.paths import socket_gid
from clawkakad.sandboxes.profile import MIB, Sealing, sealing_of
from clawkakad.sandboxes.rest import Rules as RestRules
from clawkakad.sandboxes.supervisor import Supervisor
from clawkakad.simulator.model import offline_model_app
from clawkakad.web.connection import Limits as WebLimits
from clawkakad.web.connection import Site
from clawkakad.web.listener import listening
from clawkakad.web.public import BODY_LIMIT, public_site
from clawkakad.whatsapp.graph import GraphClient

TURNS_S = 10.0  # for turns in flight when the daemon stops; what is left is asked for again at the next start
LOOP_S = 13.0  # for a loop to clean up; a commit that begins sends has 2 s, sends in flight have 10 s
OFFLINE_SOCKET = "model.sock"
MOST_AWAKE_MB = 900  # what an agent takes at most, where its limit does not hold it down: 760-930 seen
DEFAULT_MODEL = "openrouter/auto"


@dataclass(frozen=True)
class Parts:
    """What was built."""

    registry: Registry
    intake: Intake
    conversations: Conversations
    missed: MissedAnswers
    delivery: Delivery
    reminders: ReminderClock
    heartbeats: Heartbeats
    supervisor: Supervisor


async def serve(settings: Settings) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; a second signal ends it at once. Raises UsageError before it begins."""
    stop = _stop_signal()
    claim(settings.state_dir, marks=STATE_MARKS, beside=OUTLIVES)
    claim(settings.runtime_dir, marks=RUNTIME_MARKS)
    with locked(settings.state_dir):
        async with contextlib.AsyncExitStack() as stack:
            parts = await _build(settings, stack)
            site, loops = contextlib.AsyncExitStack(), Loops()
            try:
                served = listening(
                    _public(settings, parts), settings.host, settings.port, limits=WebLimits(body=BODY_LIMIT)
                )
                port = await site.enter_async_context(served)
                _start(loops, parts, settings)
                notify("READY=1")
                logger.info("ready", version=__version__, port=port, model=settings.model_kind.value)
                await loops.watch(stop)
            finally:
                await _stop(parts, loops, site)


async def _build(settings: Settings, stack: contextlib.AsyncExitStack) -> Parts:
    """Open what has to be opened and build the parts, from the ground up."""
    registry = await stack.enter_async_context(open_registry(settings.state_dir / FILE, _now, log_room=LOG_ROOM))
    http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    graph = await stack.enter_async_context(contextlib.aclosing(GraphClient.of(settings)))
    listening, receipts = Listening(), Receipts()
    delivery = _delivery(settings, registry, graph, listening, receipts)
    reminders = ReminderClock(registry, _now, on_outbox=delivery.wake)
    pool = Pool()
    late = LateAnswers(registry, _now, on_outbox=delivery.wake)
    keys, proxy = await _build_model(settings, stack, registry, http)
    turns = Turns(pool, on_stray=late.take, refusal_of=proxy.refusal_of)
    stack.push_async_callback(turns.aclose)
    agent = GatewayAgent(pool, turns)
    supervisor, disk = await _build_supervisor(settings, stack, registry, pool, reminders, keys, proxy, delivery.wake)
    missed = MissedAnswers(registry, supervisor, agent, late, _now)
    conversations = Conversations(
        registry,
        supervisor,
        agent,
        Presence(graph),
        _now,
        _rules(settings),
        outgoing=delivery,
        on_given_up=missed.note,
    )
    heartbeats = Heartbeats(
        registry,
        supervisor,
        agent,
        _now,
        lock=conversations.lock,
        interval=timedelta(minutes=settings.heartbeat_minutes),
        active_hours=settings.active_hours,
        per_day=settings.heartbeats_per_day,
        on_outbox=delivery.wake,
    )
    door = Door(settings.access, frozenset(settings.allow))
    filing = Filing(door, Limits(settings.messages_per_hour, settings.strangers), receipts)
    intake = Intake(
        registry,
        filing,
        _now,
        listening=listening,
        opening=conversations.opening,
        is_full=lambda: disk.registry_is_full,
        on_message=conversations.wake,
        on_outbox=delivery.wake,
    )
    return Parts(registry, intake, conversations, missed, delivery, reminders, heartbeats, supervisor)


def _delivery(
    settings: Settings, registry: Registry, graph: GraphClient, listening: Listening, receipts: Receipts
) -> Delivery:
    """Who sends; from what comes in it learns which sends have arrived."""
    return Delivery(
        registry,
        graph,
        _now,
        rules=SendRules(settings.settle_s, settings.resends, settings.sends_per_s),
        caught_up=lambda: listening.caught_up,
        lag_s=receipts.lags.p99_s,
        on_sent=receipts.sent,
    )


def _rules(settings: Settings) -> Rules:
    """How turns are taken."""
    return Rules(
        timeout_s=settings.turn_timeout_s,
        burst_s=settings.burst_s,
        still_on_it_s=settings.still_on_it_s,
        old_after=timedelta(hours=settings.old_after_hours),
        skip_old=settings.old_messages is OldMessages.SKIP,
    )


async def _build_model(
    settings: Settings, stack: contextlib.AsyncExitStack, registry: Registry, http: aiohttp.ClientSession
) -> tuple[KeySource, ModelProxy]:
    """The way to the model, and the keys for it."""
    keys = _keys(settings, http, registry, secrets.instance_id(settings.state_dir))
    upstream = await _upstream(settings, stack)
    session = await stack.enter_async_context(open_upstream(upstream))
    return keys, ModelProxy(
        session, upstream=upstream, key_for=keys.key, other_key=keys.other_key, usage=registry.usage
    )


async def _build_supervisor(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    registry: Registry,
    pool: Pool,
    reminders: ReminderClock,
    keys: KeySource,
    proxy: ModelProxy,
    on_outbox: Callable[[], None],
) -> tuple[Supervisor, DiskWatch]:
    """Everything that has to do with containers."""
    instance = secrets.instance_id(settings.state_dir)
    given = settings.gateway_token.get_secret_value() if settings.gateway_token else None
    secret = secrets.installation_secret(settings.state_dir, given)
    gid = socket_gid()
    engine = await stack.enter_async_context(open_engine(settings.engine))

    def sealing_now() -> Sealing:
        return sealing_of(settings, instance, gid, has_swap=host_memory().has_swap)

    builder = Builder(
        engine=engine,
        sealing_now=sealing_now,
        runtime_dir=settings.runtime_dir,
        token_of=lambda sandbox_id: secrets.gateway_token(secret, sandbox_id),
        limits=ModelLimits(),
        keys=keys,
        containers=registry.sandboxes,
        profiles=registry.users,
    )
    services = PaServices(registry, _now, on_reminder=reminders.wake)
    host_api = HostApi(proxy=proxy, services=services, gid=gid, profile_changed=builder.write_profile)
    quota = Quota(settings.sandbox_disk_mb * MIB)
    places = [settings.state_dir, settings.runtime_dir]
    disk = DiskWatch(engine, Gauge(engine, builder.sealing), registry.disks, quota, places, _now)
    supervisor = Supervisor(
        engine=engine,
        registry=registry,
        builder=builder,
        host_api=host_api,
        pool=pool,
        keys=keys,
        memory=host_memory,
        rules=_rest_rules(settings, sealing_now()),
        lines=Lines(words.PARKED, words.WAKING, full=words.DISK_FULL, held_back=words.NO_ROOM),
        disk=disk,
        on_outbox=on_outbox,
        spares=settings.spares,
    )
    return supervisor, disk


def _rest_rules(settings: Settings, sealing: Sealing) -> RestRules:
    """When sandboxes rest."""
    return RestRules(
        doze_after_s=settings.doze_after_minutes * 60,
        sleep_after_s=settings.sleep_after_hours * 3600,
        reserve_mb=settings.memory_reserve_mb,
        awake_mb=min(sealing.memory_mb, MOST_AWAKE_MB),
    )


def _keys(settings: Settings, http: aiohttp.ClientSession, registry: Registry, instance: str) -> KeySource:
    """Where model keys come from."""
    if settings.model_kind is ModelKind.OPENROUTER_PER_PERSON and settings.openrouter_provisioning_key:
        return ProvisionedKeys(
            http,
            base_url=settings.openrouter_base_url,
            provisioning_key=settings.openrouter_provisioning_key.get_secret_value(),
            instance=instance,
            limit_usd=settings.key_limit_usd,
            directory=settings.state_dir / "keys",
            hashes=registry.sandboxes,
        )
    key = settings.model_api_key if settings.model_kind is ModelKind.COMPATIBLE else settings.openrouter_api_key
    return SharedKey(key.get_secret_value() if key else None)


async def _upstream(settings: Settings, stack: contextlib.AsyncExitStack) -> Upstream:
    """Where the model is; the offline one is served here, on a socket of our own."""
    if settings.model_kind is ModelKind.OFFLINE:
        logger.warning("no model is set: the offline model answers, by fixed rules")
        path = settings.runtime_dir / OFFLINE_SOCKET
        await stack.enter_async_context(_serving(offline_model_app(), path))
        return Upstream("http://offline/v1", "offline", path)
    base_url = settings.model_base_url or settings.openrouter_base_url
    return Upstream(base_url, settings.model or DEFAULT_MODEL)


@contextlib.asynccontextmanager
async def _serving(app: web.Application, path: Path) -> AsyncIterator[None]:
    path.unlink(missing_ok=True)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        yield
    finally:
        await runner.cleanup()


def _start(loops: Loops, parts: Parts, settings: Settings) -> None:
    """Every endless loop, by name. The supervisor first: it adopts what runs."""
    loops.start("supervisor", parts.supervisor.run())
    loops.start("delivery", parts.delivery.run())
    loops.start("reminders", parts.reminders.run())
    loops.start("conversations", parts.conversations.run())
    loops.start("missed answers", parts.missed.run())
    if settings.heartbeat_minutes:
        loops.start("heartbeats", parts.heartbeats.run())
    interval_s = watchdog_interval_s()
    if interval_s is not None:
        loops.start("watchdog", _feed_watchdog(parts.registry, interval_s))


def _public(settings: Settings, parts: Parts) -> Site:
    """All that the internet may reach."""
    return public_site(
        intake=parts.intake,
        verification_token=settings.verification_token.get_secret_value(),
        app_secrets=[secret.get_secret_value() for secret in settings.app_secrets],
        phone_number_id=settings.phone_number_id,
        health=lambda: {"ok": True, "version": __version__},
    )


async def _stop(parts: Parts, loops: Loops, site: contextlib.AsyncExitStack) -> None:
    """No new webhooks, no new turns, what is in flight ends, then the loops in the order in which they feed another."""
    notify("STOPPING=1")
    logger.info("stopping")
    await site.aclose()
    for name in ("heartbeats", "missed answers"):
        await loops.stop(name, within_s=LOOP_S)
    await parts.conversations.drain(TURNS_S)
    for name in ("conversations", "reminders", "delivery", "supervisor", "watchdog"):
        await loops.stop(name, within_s=LOOP_S)
    logger.info("stopped")


async def _feed_watchdog(registry: Registry, interval_s: float) -> None:
    """WATCHDOG=1 while the event loop turns and the registry answers; silence makes systemd restart us."""
    while True:
        try:
            await registry.db.one("SELECT 1")
        except RegistryUnavailable as error:
            logger.error("watchdog not fed", error=str(error))
        else:
            notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def _stop_signal() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process where it stands."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            logger.warning("told to stop twice: ending now")
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


def _now() -> datetime:
    return datetime.now(UTC)
