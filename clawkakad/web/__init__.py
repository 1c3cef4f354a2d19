"""What the public internet may reach: the webhook and a health check, nothing else."""
