"""What JetStream costs beside its peers: `python -m benchmarks.run`."""
