"""An engine for worker tests: a job's `do` says what happens."""

import os
import signal
import threading
import time
from typing import NoReturn

from gateway.contract.worker_frames import Engine, Fields, Job, JobFailed, NotReady


def open_engine(options: Fields) -> Engine:
    match options.get("start"):
        case "refuse":
            raise NotReady("the sky is too blue")
        case "crash":
            raise RuntimeError("broken inside")
        case "no package":
            import no_such_package_at_all  # type: ignore[import-not-found]  # noqa: F401
        case "no file":
            open("/no/such/file").close()
        case "die":
            os._exit(3)
        case "hang":
            time.sleep(600)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return Playing()


class Playing:
    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self, job: Job) -> None:
        match job.fields["do"]:
            case "echo":
                self.done.append(job.fields.get("name", ""))
                job.emit({"pid": os.getpid(), "done": self.done}, job.payload)
            case "count":
                for number in range(job.fields["to"]):
                    job.emit({"number": number})
            case "run until cancelled":
                job.emit({"started": True})
                while not job.cancelled():
                    time.sleep(0.001)
            case "wait to be told":
                told = threading.Event()
                job.when_cancelled(told.set)
                job.emit({"started": True})
                told.wait()
            case "environment":
                job.emit(dict(os.environ))
            case "print":
                print("noise on standard output", flush=True)  # noqa: T201
                os.write(1, b"and more of it")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fail":
                fail(job)


def fail(job: Job) -> NoReturn:
    if "code" in job.fields:
        raise JobFailed(job.fields["code"], "nine of seven")
    raise ValueError("secret words")
