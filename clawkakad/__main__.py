"""`python -m clawkakad` is `clawkakad`."""

import sys

try:
    from clawkakad.cli import main

    main()
except KeyboardInterrupt:  # while all that is imported, too, which takes a second
    sys.exit(130)
