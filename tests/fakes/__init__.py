"""Faithful servers of providers' protocols, for conformance tests, load tests, and whoever tries a route without a key.

    python -m tests.fakes.deepgram --port 9001 --latency 0.1        # then: deepgram: {base_url: "ws://127.0.0.1:9001", key: any}

Each says in its first lines on what evidence it stands (a recording, the vendor's SDK, documentation).
"""
