"""What can go wrong, said so that the caller can do better next time."""


class PaError(Exception):
    """Something the caller can act on. Its text is one plain sentence, printed after `error:`; exit code 2."""


class HostAway(PaError):
    """The daemon did not answer in time, or the connection broke before its answer was whole."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the host does not answer ({reason}); nothing is confirmed, try again in a minute")


class HostRefused(PaError):
    """The daemon answered with an error; `status` is the HTTP status, the text is the daemon's own sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
