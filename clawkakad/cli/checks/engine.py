"""The Docker Engine: whether it answers, its image, how its containers can rest, and what they left behind."""

import asyncio

from clawkakad.cli.checks.finding import SETTINGS_FIRST, Finding, Patient
from clawkakad.cli.common import ENGINE_ADVICE, clock
from clawkakad.errors import EngineUnavailable
from clawkakad.registry import FILE, read_registry
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.orphans import orphans, serving
from clawkakad.sandboxes.secrets import read_instance_id
from clawkakad.sandboxes.strays import unnamed

LOOK_AGAIN_S = 1.0  # a process may outlive its container for a moment


async def engine(patient: Patient) -> Finding:
    if any(problem.startswith("DOCKER_HOST:") for problem in patient.problems.splitlines()):
        return SETTINGS_FIRST
    try:
        async with open_engine(patient.place.engine) as engine:
            return Finding("ok", f"Docker Engine {await engine.version()}")
    except EngineUnavailable:
        return Finding("fail", f"no engine answers at {patient.place.engine}", ENGINE_ADVICE)


async def image(patient: Patient) -> Finding:
    async with open_engine(patient.place.engine) as engine:
        image_id = await engine.image_id(patient.place.image)
    if image_id is None:
        return Finding("fail", f"{patient.place.image} is not here", "clawkakad image build")
    return Finding("ok", f"{patient.place.image} ({image_id.removeprefix('sha256:')[:12]})")


async def sleep(patient: Patient) -> Finding:
    """What becomes of the memory of a sandbox that nobody needs."""
    if patient.settings is None:
        return SETTINGS_FIRST
    if not patient.settings.doze_after_minutes:
        return Finding("ok", "sandboxes do not doze: CLAWKAKA_DOZE_AFTER_MINUTES=0")
    async with open_engine(patient.place.engine) as engine:
        cgroups = await engine.cgroups()
    host, kind = host_memory(), f"cgroup v{cgroups.version}"
    if not host.has_swap:
        seen = f"{kind}, no swap: sandboxes that doze keep their memory"
        return Finding("warn", seen, "add a swap file, about 1 GB for each person: README, Sleep")
    if not cgroups.swap:
        seen = f"{kind}, and this kernel does not limit swap: sandboxes that doze keep their memory"
        return Finding("warn", seen, "boot it with swapaccount=1")
    steps = "great steps, a failed one costs nothing" if cgroups.version == "1" else "small steps, each checked"
    return Finding("ok", f"{kind}: the memory of sandboxes that doze goes to swap, in {steps}")


async def orphan_processes(patient: Patient) -> Finding:
    """Processes of containers that are gone: looked at twice, since an end takes a moment."""
    if not patient.place.engine.startswith("unix://"):
        return Finding("ok", "not checked: the engine is elsewhere")
    async with open_engine(patient.place.engine) as engine:
        seen = orphans(await asyncio.to_thread(lambda: list(serving())), await engine.ids())
        if seen:
            await asyncio.sleep(LOOK_AGAIN_S)
            known = await engine.ids()
            seen = [one for one in orphans(await asyncio.to_thread(lambda: list(serving())), known) if one in seen]
    if not seen:
        return Finding("ok", "none")
    lines = [f"{one.program} (process {one.pid}) of container {one.container_id[:12]}, which is gone" for one in seen]
    return Finding("warn", "\n".join(lines), f"kill {' '.join(str(one.pid) for one in seen)}")


async def stray_sandboxes(patient: Patient) -> Finding:
    """Sandboxes that no row names: a restore may leave some behind."""
    instance = read_instance_id(patient.place.state_dir)
    if instance is None or not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "not checked: no registry yet")
    async with (
        read_registry(patient.place.state_dir / FILE, clock) as registry,
        open_engine(patient.place.engine) as engine,
    ):
        found = await unnamed(engine, instance, registry.sandboxes.all)
    lines = [f"{name}: a container that is nobody's in the registry" for name in found.containers]
    lines += [f"{name}: a volume that is nobody's in the registry" for name in found.volumes]
    if not lines:
        return Finding("ok", "none")
    commands = [f"docker rm -f {' '.join(found.containers)}"] if found.containers else []
    commands += [f"docker volume rm {' '.join(found.volumes)}"] if found.volumes else []
    return Finding("warn", "\n".join(lines), f"if nobody misses what is in them: {'; '.join(commands)}")
