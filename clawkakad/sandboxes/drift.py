"""Whether a container that runs is still what it should be: its image, its profile, and every row of the audit.

Asks the engine, changes nothing. What an image gives to its containers is asked once for each image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clawkakad.errors import ImageMissing
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

    async def of(self, sandbox_id: SandboxId) -> str:
        """What differs, in words for the operator; empty where nothing does, or nothing can be said.

        Raises EngineUnavailable, Rejected.
        """
        facts = await self.engine.facts(container_name(sandbox_id))
        image_id = await self.engine.image_id(self.sealing.image)
        if facts is None or image_id is None:
            return ""
        if facts["Image"] != image_id:
            return "there is another image now"
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
