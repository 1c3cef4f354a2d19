"""What `clawkakad doctor` looks at, one module for each place it looks at."""
