"""Merging: what several workers tell of themselves, as one. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def merged_metrics(told: Mapping[str, bytes]) -> bytes:
    """Expositions in Prometheus' text format by the number of the worker, which becomes a label of every sample."""
    families: dict[bytes, list[bytes]] = {}
    for worker, exposition in sorted(told.items()):
        label = b'worker="%s"' % worker.encode()
        family: list[bytes] = []
        for line in exposition.splitlines():
            if line.startswith(b"# HELP "):
                family = families.setdefault(line.split(b" ", 3)[2], [])
                if not family:
                    family.append(line)
            elif line.startswith(b"#"):
                if line not in family:
                    family.append(line)
            elif line:
                family.append(_labelled(line, label))
    return b"".join(line + b"\n" for family in families.values() for line in family)


def _labelled(sample: bytes, label: bytes) -> bytes:
    name, brace, rest = sample.partition(b"{")
    if brace:
        return name + b"{" + label + b"," + rest
    name, _, value = sample.partition(b" ")
    return name + b"{" + label + b"} " + value
