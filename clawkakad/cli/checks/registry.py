"""The registry: whether it is sound, and what its rows say of sandboxes and messages."""

from clawkakad.cli.checks.finding import Finding, Patient, start_advice
from clawkakad.cli.common import clock, counted
from clawkakad.cli.listing import LATELY, TRY_NOW
from clawkakad.log import redact
from clawkakad.registry import FILE, overview, pauses, read_registry
from clawkakad.registry.pauses import Scope
from clawkakad.sandboxes.disk import NEARLY, Quota, in_words, share
from clawkakad.sandboxes.room import GIB
from clawkakad.sandboxes.upgradeplan import UNWELL
from clawkakad.whatsapp.errors import rule_of


async def registry(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("warn", "no registry yet", f"start the daemon once: {start_advice(patient)}")
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        row = await registry.db.one("PRAGMA quick_check")
        people = len(await registry.users.all())
    if row is None or row[0] != "ok":
        return Finding("fail", "the registry is damaged", "stop the daemon, then clawkakad restore FILE, of a backup")
    return Finding("ok", f"sound; {counted(people, 'person', 'people')}")


async def sandboxes(patient: Patient) -> Finding:
    """Those that do not run as they should; of full disks there is a check of its own."""
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        disks, rows = await registry.disks.all(), await registry.sandboxes.all()
    full = {one for one, disk in disks.items() if disk.full_at is not None}
    unwell = [row for row in rows if row.state in UNWELL and row.id not in full and not row.remove_wanted]
    if not unwell:
        return Finding("ok", "none parked, none unhealthy")
    lines = [
        f"{row.id}{'' if row.user_id else ' (a spare)'}: {row.state.value}: {redact(row.reason)}" for row in unwell
    ]
    advice = "the daemon tries it again, and replaces it after an hour"
    if any(row.user_id for row in unwell):
        advice = "clawkakad sandbox retry USER (its id will do)"
    return Finding("warn", "\n".join(lines), advice)


async def sandbox_disks(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        disks, rows = await registry.disks.all(), await registry.sandboxes.all()
    full = [f"{one}: {in_words(disk)}, stopped" for one, disk in disks.items() if disk.full_at is not None]
    nearly = [
        f"{one}: {in_words(disk)}"
        for one, disk in disks.items()
        if disk.full_at is None and share(disk, Quota(disk.quota)) >= NEARLY
    ]
    if full or nearly:
        advice = "clawkakad sandbox retry gives it time to clean up; or raise CLAWKAKA_SANDBOX_DISK_MB"
        return Finding("warn", "\n".join(full + nearly), advice)
    total = sum(disk.bytes for disk in disks.values())
    new = [f"{counted(len(rows) - len(disks), 'sandbox', 'sandboxes')} not measured yet"] * (len(rows) > len(disks))
    seen = [f"{counted(len(disks), 'sandbox', 'sandboxes')} measured, {total / GIB:.1f} GB in all"] * bool(disks)
    return Finding("ok", "; ".join(seen + new) or "none yet")


async def messages(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    now = clock()
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        paused = await registry.db.read(pauses.current)
        counts = await registry.db.read(lambda tx: overview.counts(tx, now - LATELY))
    for pause in paused:
        what = "sending is paused" if pause.scope is Scope.ALL else "sending of templates is paused"
        advice = "; then it ".join(filter(None, (rule_of(pause.code).advice, "goes on by itself")))
        return Finding("fail", f"{what}: {redact(pause.reason)}", f"{advice}, {TRY_NOW}")
    return _in_trouble(counts)


def _in_trouble(counts: overview.Counts) -> Finding:
    """Messages that nobody but the operator can help, if any."""
    troubles = {
        "of unknown outcome": counts.ambiguous + counts.unknown,
        "failed in the last day": counts.failed,
        "parked in the last day": counts.parked,
    }
    seen = [f"{count} {what}" for what, count in troubles.items() if count]
    held = [f"{counts.window} held until their people write"] if counts.window else []
    if not seen:
        return Finding("ok", ", ".join(held) or "none held, none failed")
    commands = ["clawkakad outbox list"] * (counts.parked != sum(troubles.values()))
    commands += ["clawkakad inbox list"] * bool(counts.parked)
    return Finding("warn", ", ".join(seen + held), "; ".join(commands))
