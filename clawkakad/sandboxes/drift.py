"""Whether a container that runs is still what it should be: its image, its profile, and every row of the audit.

Asks the engine, changes nothing. What an image gives to its containers is asked once for each image.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from clawkakad.errors import EngineUnavailable, ImageMissing, RegistryUnavailable, Rejected
from clawkakad.model import SandboxId
from clawkakad.sandboxes.audit import Given, audit
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.paths import paths_of
from clawkakad.sandboxes.profile import LABEL_CONFIG, Sealing, container_body, container_name


@dataclass(frozen=True)
class Drift:
    """One for all sandboxes."""

    engine: Engine
    sealing_now: Callable[[], Sealing]
    runtime_dir: Path
    _given: dict[str, Given] = field(default_factory=dict)

    @property
    def sealing(self) -> Sealing:
        """What containers are to be made of now."""
        return self.sealing_now()

    async def of(self, sandbox_id: SandboxId, image_id: str | None) -> str:
        """What differs, in words for the operator; empty where nothing does, or nothing can be said.

        `image_id`: the image that it is to be made of.

        Raises EngineUnavailable, Rejected.
        """
        facts = await self.engine.facts(container_name(sandbox_id))
        if facts is None or image_id is None:
            return ""
        if facts["Image"] != image_id:
            return "it is made of another image"
        body = container_body(self.sealing, sandbox_id, paths_of(self.runtime_dir, sandbox_id))
        labels = body["Labels"]
        assert isinstance(labels, dict)
        if (facts["Config"]["Labels"] or {}).get(LABEL_CONFIG) != labels[LABEL_CONFIG]:
            return "there is another profile now"
        given = await self._gives(image_id)
        findings = [] if given is None else audit(facts, body, given)
        return "it was changed: " + ", ".join(sorted(found.row for found in findings)) if findings else ""

    async def _gives(self, image_id: str) -> Given | None:
        if image_id not in self._given:
            try:
                config = await self.engine.image_config(image_id)
            except ImageMissing:
                return None
            self._given.clear()
            self._given[image_id] = Given(config, await self.engine.default_runtime())
        return self._given[image_id]


class Remaking:
    """Whether one sandbox is to be made again: it has drifted, and nobody would notice.

    What making it again did not mend is not tried a second time. `image_of`: the image that it is to be made of.
    """

    def __init__(self, drift: Drift, sandbox_id: SandboxId, image_of: Callable[[], Awaitable[str | None]]) -> None:
        self._drift = drift
        self._id = sandbox_id
        self._image_of = image_of
        self._done_for = ""
        self._in_vain = False
        self.why = ""
        """Why it is to be made again; empty where it is not."""

    def done(self) -> None:
        """It was started, and made again where it was to be."""
        self._done_for, self.why = self.why or self._done_for, ""

    async def look(self, is_idle: Callable[[], Awaitable[bool]]) -> str:
        """Why it is to be made again. Empty where it is not, and where that is not known."""
        try:
            if not await is_idle():
                return ""
            drift = await self._drift.of(self._id, await self._image_of())
            if not drift or not await is_idle():
                return ""
        except (EngineUnavailable, RegistryUnavailable, Rejected) as error:
            logger.debug("whether a container has drifted is not known", error=str(error))
            return ""
        if drift == self._done_for:
            self._tell_in_vain(drift)
            return ""
        self.why, self._in_vain = drift, False
        return drift

    def _tell_in_vain(self, drift: str) -> None:
        if not self._in_vain:
            logger.error("a container drifts, made again or not: clawkakad doctor sandbox", why=drift)
        self._in_vain = True
