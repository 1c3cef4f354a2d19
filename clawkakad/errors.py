"""Every error of the package, sorted by what the caller should do.

ClawkakaError
├── Transient            try again later: the other side may recover by itself
│   ├── EngineUnavailable    the Docker engine does not answer
│   │   └── EngineCrippled       it answers, and can do nothing with containers
│   ├── GatewayUnavailable   the sandbox's gateway is not ready, or too slow
│   ├── GraphUnavailable     the Graph API refused for now; nothing was sent
│   ├── RegistryUnavailable  SQLite cannot commit now (locked, disk full)
│   └── SandboxGone          the sandbox was removed: its person gets a new one
├── Unknown              the outcome is not known: settle it before trying again
│   └── SendUnknown          a message may or may not have been sent
├── Rejected             do not repeat: the same request gets the same answer
│   ├── BadSignature         a webhook that Meta did not sign
│   ├── BadFrame             a gateway frame that cannot be read
│   ├── GatewayRefused       the gateway understood and said no
│   ├── GraphRejected        the Graph API understood and said no
│   ├── ImageBuildFailed     the sandbox image could not be made
│   ├── ImageMissing         the sandbox image is not on this machine
│   ├── SandboxTampered      a path of a sandbox is not what it must be
│   └── TurnFailed           the agent ended the turn with an error
├── Closed               reconnect: the connection is gone, the state behind it is not
│   └── GatewayClosed
└── UsageError           the operator can fix it: shown as one line, exit code 2
    └── ConfigError          all problems of the settings at once
"""


class ClawkakaError(Exception):
    """Base of all errors that this package raises on purpose."""


class Transient(ClawkakaError):
    """Try again later."""


class Unknown(ClawkakaError):
    """The outcome is not known: settle it before trying again."""


class Rejected(ClawkakaError):
    """The same request will get the same answer: do not repeat it."""


class Closed(ClawkakaError):
    """The connection is gone: reconnect."""


class UsageError(ClawkakaError):
    """Something that the operator can fix; its text is one line that says what to do."""


class EngineUnavailable(Transient):
    """The Docker engine does not answer."""


class EngineCrippled(EngineUnavailable):
    """The Docker engine answers, and can do nothing with containers: it has lost containerd, or that is too slow."""


class GatewayUnavailable(Transient):
    """The gateway of a sandbox is not ready, or did not answer within the deadline.

    `retry_after_s`: seconds that it asked us to wait, or None.
    """

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class GraphUnavailable(Transient):
    """The Graph API refused for now, or was not reached: nothing was sent.

    `retry_after_s`: seconds that it asked us to wait, or None. `code`: Meta's error code, or None.
    """

    def __init__(self, text: str, *, retry_after_s: float | None = None, code: int | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.code = code


class RegistryUnavailable(Transient):
    """SQLite cannot commit now."""


class SendUnknown(Unknown):
    """The request was written and no usable answer came: the message may be on its way."""


class SandboxGone(Transient):
    """The sandbox was removed while somebody waited for it: its person gets a new one."""


class BadSignature(Rejected):
    """The body does not carry a valid signature of the app secret."""


class BadFrame(Rejected):
    """A gateway frame that is not JSON, or not of the protocol's shape."""


class GatewayRefused(Rejected):
    """The gateway understood a request and refused it. `code`: its error code; `reason`: its detail, if any."""

    def __init__(self, text: str, *, code: str, reason: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


class GraphRejected(Rejected):
    """The Graph API refused a request for good. `code`: Meta's error code, or None; `details`: its words."""

    def __init__(self, text: str, *, code: int | None = None, details: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


class ImageBuildFailed(Rejected):
    """The sandbox image could not be made. `output`: the last lines of what failed."""

    def __init__(self, text: str, *, output: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.output = output


class ImageMissing(Rejected):
    """The sandbox image is not on this machine: `clawkakad image build` makes it."""


class SandboxTampered(Rejected):
    """A path that a sandbox can write holds something else than it must (a symlink, a file of another user)."""


class TurnFailed(Rejected):
    """The agent ended a turn with an error. `kind`: the gateway's word for it, if any."""

    def __init__(self, text: str, *, kind: str | None = None) -> None:
        super().__init__(text)
        self.kind = kind


class GatewayClosed(Closed):
    """The gateway's connection was closed. `code`: the WebSocket close code, or None where the socket just ended."""

    def __init__(self, text: str, *, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class ConfigError(UsageError):
    """All problems of the settings at once, one per line."""
