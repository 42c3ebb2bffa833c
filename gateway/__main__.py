"""`trunkline serve | check | routes | simulate | models | keys`."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gateway import keys, workers
from gateway.config import Config, parse
from gateway.contract.errors import ConfigError
from gateway.loader import Loaded, load
from gateway.reload import read
from gateway.routing.route import Order

if TYPE_CHECKING:
    from gateway.access.access import Access

log = logging.getLogger("trunkline")

_SIMULATE: dict[str, Any] = {
    "formatter_class": argparse.RawDescriptionHelpFormatter,
    "description": """\
What this routes.yaml would have done: the engine that serves requests, on a virtual clock, with targets that behave as
a recorded decision log shows or as a scenario says. Nothing is sent to anybody, and an hour takes seconds.

  curl 'http://127.0.0.1:8080/v1/telemetry/decisions?limit=500' > log.json
  trunkline simulate log.json                     against what really happened
  trunkline simulate log.json --order priority    and if targets were asked as written
  trunkline simulate scenario.yaml --seed 2       a scenario: docs/operations.md has its keys""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 well, 1 it failed, 2 the file or the command line is at fault."""
    given = sys.argv[1:] if argv is None else argv
    asked = _parser().parse_args(given)
    asked.args = given[1:]
    try:
        return int(asked.run(asked))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trunkline",
        description="A gateway for models that listen, think and speak, behind one OpenAI-compatible API.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("--config", metavar="FILE", type=Path, help="default: routes.yaml here, else the shipped one")

    serve = commands.add_parser("serve", parents=[file], help="run the gateway")
    serve.set_defaults(run=_serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to bind (default: 127.0.0.1, this machine only)")
    serve.add_argument("--port", type=int, default=8080, help="default: 8080; 0 takes a free one")
    serve.add_argument("--tls-cert", metavar="FILE", type=Path, help="PEM; browsers need HTTPS beyond localhost")
    serve.add_argument("--tls-key", metavar="FILE", type=Path, help="PEM")
    serve.add_argument(
        "--workers", type=_workers, default=1, metavar="N", help="processes that answer the port (default: 1)"
    )
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")

    serve.add_argument(
        "--keys",
        metavar="PLACE",
        help="of clients' keys: a file, or `redis`; default: TRUNKLINE_KEYS, else keys.json beside routes.yaml",
    )
    serve.add_argument(
        "--budgets-without-redis",
        choices=("closed", "local"),
        default="closed",
        help="once Redis is gone for a minute: refuse keys with a budget (default), or go by what this process knows",
    )
    serve.add_argument(
        "--insecure-no-keys",
        action="store_true",
        help="bind beyond this machine although no key is configured: whoever reaches the port can use every route",
    )

    check = commands.add_parser("check", parents=[file], help="read the file and name every mistake")
    check.set_defaults(run=_check)

    routes = commands.add_parser("routes", parents=[file], help="show routes and targets, and which are awake")
    routes.set_defaults(run=_routes)
    routes.add_argument(
        "--live", action="store_true", help="watch a gateway that runs: TTFT, errors, share, who is out"
    )
    routes.add_argument(
        "--url", default="http://127.0.0.1:8080", help="where it is (default: %(default)s); its key: TRUNKLINE_KEY"
    )

    _simulate_parser(
        commands.add_parser("simulate", parents=[file], help="what this file would have done", **_SIMULATE)
    )

    models = commands.add_parser("models", help="list the embedded models' weights, or pull them", add_help=False)
    models.add_argument("rest", nargs=argparse.REMAINDER)
    models.set_defaults(run=_models)
    keys.add_commands(commands, os.environ)
    return parser


def _simulate_parser(simulate: argparse.ArgumentParser) -> None:
    simulate.set_defaults(run=_simulate)
    simulate.add_argument(
        "files", metavar="FILE", nargs="*", type=Path, help="a scenario, or what /v1/telemetry/decisions answered"
    )
    simulate.add_argument(
        "--url",
        help="take the latest 500 decisions of the gateway that runs there (its key: TRUNKLINE_KEY in the environment)",
    )
    simulate.add_argument("--route", metavar="NAME", help="this route alone")
    simulate.add_argument("--policy", metavar="NAME", help="serve by this policy of the file, whatever routes name")
    simulate.add_argument("--order", choices=get_args(Order), help="ask in this order, whatever the policy says")
    simulate.add_argument("--seed", type=int, metavar="N", help="of all draws (default: the scenario's, else 1)")
    simulate.add_argument("--json", action="store_true", help="the figures as JSON, in seconds")


def find_config(asked: Path | None) -> Path:
    """The file to read. Raises ConfigError if there is none."""
    package = Path(__file__).parent
    places = [asked] if asked else [Path("routes.yaml"), package / "routes.yaml", package.parent / "routes.yaml"]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(f"{places[0]}: no such file")


def _read(asked: argparse.Namespace) -> tuple[Config, Loaded]:
    path = find_config(asked.config)
    config = parse(read(path), str(path))
    return config, load(config, os.environ)


def _check(asked: argparse.Namespace) -> int:
    config, loaded = _read(asked)
    for name, route in loaded.routes.items():
        if not route.targets:
            print(f"{config.file}: warning: route {name} has no target awake: it will answer 503")
    print(f"{config.file}: {len(loaded.routes)} routes and {len(loaded.calls)} call routes, no mistakes")
    return 0


def _routes(asked: argparse.Namespace) -> int:
    if asked.live:
        from gateway.live import live  # only this needs an HTTP client

        return live(asked.url, os.environ.get("TRUNKLINE_KEY"))
    _, loaded = _read(asked)
    for route in loaded.routes.values():
        print(f"{route.name}  ({route.kind})")
        for target in route.targets:
            print(f"  awake   {target}")
        for target in route.shadows:
            print(f"  shadow  {target}: gets copies of {target.shadow:.0%} of the requests")
        for name, why in route.asleep.items():
            print(f"  asleep  {name}: {why}")
    for call in loaded.calls.values():
        print(f"{call.name}  (call)\n  cascaded: stt {call.stt}, llm {call.llm}, tts {call.tts}")
    return 0


def _simulate(asked: argparse.Namespace) -> int:
    from gateway.simulate.command import Simulation, simulate  # only this needs the engine without the gateway

    if bool(asked.files) == (asked.url is not None):
        print("trunkline simulate: name a scenario or decision logs, or a gateway's --url", file=sys.stderr)
        return 2
    config, loaded = _read(asked)
    key = os.environ.get("TRUNKLINE_KEY")
    wanted = Simulation(asked.files, asked.url, key, asked.route, asked.policy, asked.order, asked.seed, asked.json)
    sys.stdout.write(simulate(config, loaded, wanted))
    return 0


def _models(asked: argparse.Namespace) -> int:
    from gateway.weights import models_command  # only this command needs pip's side

    return models_command(asked.rest)


def _serve(asked: argparse.Namespace) -> int:
    if (asked.tls_cert is None) != (asked.tls_key is None):
        print("trunkline serve: --tls-cert and --tls-key go together", file=sys.stderr)
        return 2
    logging.basicConfig(level=asked.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("aioice", "aiortc", "httpx", "httpcore"):  # they log addresses and headers
        logging.getLogger(chatty).setLevel(logging.WARNING)
    config, loaded = _read(asked)
    for route in loaded.routes.values():
        for target, why in route.asleep.items():
            log.info("route %s: %s is asleep: %s", route.name, target, why)
    worker = workers.worker_of(os.environ)
    access = _access(asked)
    if worker is None and asked.workers > 1:
        if loaded.calls:
            log.warning(
                "with several workers, what follows a call's offer (PATCH, DELETE) may reach one that has it not"
            )
        return workers.serve(asked.args, asked.host, asked.port, asked.workers, asked.tls_cert is not None)
    # Imported here: `check` and `models` stay quick, the process that starts workers stays small, and a text-only configuration
    # never loads media.
    from gateway.app import Listen, create_app, run

    listen = Listen(asked.host, asked.port, asked.tls_cert, asked.tls_key)
    return run(create_app(config, loaded, asked.host, access, worker), listen, worker)


def _access(asked: argparse.Namespace) -> Access:
    """Whose keys clients need. Raises ConfigError where nobody would need one, and others than this machine could ask."""
    from gateway.access.access import Access

    place = keys.source(asked.keys, asked.config, os.environ)
    access = Access(
        place,
        redis=os.environ.get("REDIS_URL"),
        closed=asked.budgets_without_redis == "closed",
        replicas=keys.replicas(os.environ) * asked.workers,
        spent=place.spent,
    )
    if asked.keys is not None and not access.guarded:
        raise ConfigError(f"{place}: no such file; make a first key with: trunkline keys create --keys {place} NAME")
    if not access.guarded and not _is_loopback(asked.host):
        if not asked.insecure_no_keys:
            raise ConfigError(
                f"no key is configured, so {asked.host} is not bound: whoever reaches the port could use every route. Make "
                "one with `trunkline keys create NAME`, or say --insecure-no-keys"
            )
        log.warning("bound to %s without keys: whoever reaches this port can use every route", asked.host)
    return access


def _workers(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= workers.MOST:
        raise argparse.ArgumentTypeError(f"a number from 1 to {workers.MOST}")
    return int(text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
