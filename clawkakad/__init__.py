"""clawkakad: your own PA on WhatsApp, self-hosted."""

__version__ = "0.1.0"
