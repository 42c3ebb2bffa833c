"""Routing: which target a request goes to, when it is left, and why."""
