"""Copies that outlive the machine: made beside a running daemon, verified before they replace anything.

A backup is one tar file: the registry, each sandbox's `/data` as a tar.gz of its own, the installation's secret,
people's model keys, and last a manifest with sizes and checksums. The host never unpacks what came out of a sandbox,
and never opens its databases: a short-lived sealed container does that (`copier`, `inside`).
"""
