"""`python -m clawkakad` is `clawkakad`."""

from clawkakad.cli import main

main()
