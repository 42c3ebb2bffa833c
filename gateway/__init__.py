"""The gateway: routes, calls and the surfaces in front of them."""
