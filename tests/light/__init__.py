"""A light stand-in for the sandbox image: the same contract, without OpenClaw; it starts within a second."""
