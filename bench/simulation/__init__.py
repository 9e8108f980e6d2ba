"""Batching policies compared in simulated time, on run times that were measured: `python -m bench.simulation`."""
