"""What a test cannot run without, and what is said when it is not there.

On CI (`CI=true`) a test that cannot run fails; by hand it is left out and named, with the reason, at the end.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CLIENTS = ROOT / "tests" / "clients"
PYTHON_OF_CLIENTS = ROOT / ".venv" / "clients" / "bin" / "python"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def on_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def find_browser() -> Path | None:
    """The system's Chromium or Chrome. Ubuntu's `chromium-browser` counts only once the snap behind it is there."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found and (name != "chromium-browser" or not Path(found).is_file() or _is_a_browser(Path(found))):
            return Path(found)
    return None


def missing(thing: str) -> str | None:
    """Why `thing` cannot be had, in a few words; None when it can. A name without a rule below is a command."""
    rule = RULES.get(thing)
    if rule is not None:
        return rule()
    return None if shutil.which(thing) else f"{thing} is not installed"


def _shared() -> str | None:
    return None if SHARED.is_dir() else "../shared is not there"


def _browser() -> str | None:
    if find_browser() is None:
        return "no Chromium or Chrome is installed"
    return _module("playwright")


def _models() -> str | None:
    absent = [why for name in ("onnxruntime", "piper", "xllamacpp") if (why := _module(name))]
    if absent:
        return absent[0]
    from gateway.contract import weights

    away = [each.name for each in weights.CATALOGUE if not each.present()]
    return f"weights not pulled ({', '.join(away)}): trunkline models pull" if away else None


def _node() -> str | None:
    if shutil.which("node") is None:
        return "node is not installed"
    return None if (CLIENTS / "node_modules" / "ai").is_dir() else "the Node clients are not installed: make test does"


def _clients() -> str | None:
    return None if PYTHON_OF_CLIENTS.exists() else "the Python clients are not installed: make test does"


def _module(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else f"the Python package {name} is not installed"


def _is_a_browser(path: Path) -> bool:
    # Before the snap is installed the file is a shell script that only says so.
    with path.open("rb") as file:
        return b"snap install" not in file.read(4096)


RULES: dict[str, Callable[[], str | None]] = {
    "shared": _shared,
    "browser": _browser,
    "models": _models,
    "node": _node,
    "clients": _clients,
}
