"""The runtime runs the loops, on ports only."""
