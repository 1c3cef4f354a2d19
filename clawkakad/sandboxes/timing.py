"""How long things may take in the life of a sandbox."""

from dataclasses import dataclass, field

from clawkakad.sandboxes.paths import SANDBOX_UID
from clawkakad.sandboxes.policy import Limits


@dataclass(frozen=True)
class Timing:
    """All in seconds."""

    start_s: float = 120.0  # from the container's start to hello-ok; 12-23 seen, more on a busy machine
    wake_s: float = 60.0  # from going on to hello-ok, and so long slow answers are forgiven: its memory comes from disk
    adopt_s: float = 20.0  # at least, for a container that ran when we came
    attempt_s: float = 20.0  # one try to connect; a gateway that boots answers late
    liveness_every_s: float = 20.0  # each question wakes a sandbox up; a gateway's own tick comes every 30
    liveness_again_s: float = 5.0  # after a missed answer; and who was heard within so long need not be asked
    liveness_within_s: float = 5.0
    misses: int = 3
    limits: Limits = field(default_factory=Limits)
    drift_every_s: float = 300.0  # between two looks whether the container is still what it should be
    idle_s: float = 300.0  # no turn for so long: it may be made again
    rest_again_s: float = 60.0  # after one that was to rest was at work
    engine_last_delay_s: float = 30.0  # a nudge comes before, once it is back
    owner_uids: frozenset[int] = frozenset({SANDBOX_UID})  # whose the gateway socket may be
