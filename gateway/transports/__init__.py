"""How callers reach us."""
