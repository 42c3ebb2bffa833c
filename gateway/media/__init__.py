"""Sound on the wire: decoding, encoding, pacing."""
