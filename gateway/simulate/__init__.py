"""Simulate: what a routes.yaml would have done, on a recorded decision log or in a scenario. Runs the engine itself."""
