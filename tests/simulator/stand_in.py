"""A program in the daemon's place, for `clawkakad try`: serves, or ends with a line, or will not stop.

python stand_in.py serve|refuse|crash|deaf
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    if sys.argv[1] == "refuse":
        print("clawkakad: PORT: must be a number", file=sys.stderr)
        sys.exit(2)
    if sys.argv[1] == "crash":
        sys.exit("Traceback: something odd")
    if sys.argv[1] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("clawkakad: serving", os.environ["CLAWKAKA_STATE_DIR"], flush=True)
    HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()


main()
