"""Whether a gateway that ended with exit code 78 was refused for good, read from the last lines of its container's log.

OpenClaw ends with 78 for a configuration that it refuses and for whatever went wrong while it made its databases ready,
such as a lease that a starved machine did not renew in time; `migrate` in the image ends with 78 for newer data. Only
the words differ. So only words that nothing passing is known to say count as a refusal; all else is a failure like any
other, which five restarts may mend. Who writes a log may lie in it: that parks nobody but the sandbox itself.
"""

import re
from collections.abc import Sequence

EXIT_CODE = 78
LOG_LINES = 40  # an invalid configuration is told in a handful, after the lines of the start

# As OpenClaw 2026.9.6 says it. Not among them, since it says so too of a configuration that it could not read just now:
# "Gateway start blocked: existing config is missing gateway.mode" and "OpenClaw config is invalid; run ...". The daemon
# writes the file anew before each start, so what those two are about is not to be expected for long.
_REFUSALS = re.compile(
    r"Invalid config at [^\n]*:\n(?!<root>: read failed)[^\n]"
    r"|Gateway auth is set to password, but no password is configured"
    r"|Refusing to bind gateway to "
    r"|Invalid gateway\.port in config"
    r"|OpenClaw database schema\(s\) are newer than this build"
    r"|uses newer schema version \d+; this build supports"
    r"|^pa\.sqlite has schema \d+, and this image knows \d+",
    re.MULTILINE,
)


def is_refusal(exit_code: int, log: Sequence[str]) -> bool:
    """Whether starting it again as it is cannot help. `log`: of this life of the container only."""
    return exit_code == EXIT_CODE and _REFUSALS.search("\n".join(log)) is not None
