"""A call: a caller, a history and a leg."""
