"""A supervisor of workers that load nothing: `python -m tests.supervised WORK FOLDER [SETTING=…]`.

Each worker says who it is to whoever connects: its slot, its process and how many file
descriptors it holds. WORK says what else it does, or fails to do; `FOLDER/spoiled` turns
the workers that start from then on into ones that fail.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

from service.observability.logs import configure_logging
from service.processes.supervisor import StartError, Supervisor
from service.processes.worker_slot import Assignment

HOST = "127.0.0.1"


def work(kind: str, folder: Path, assignment: Assignment) -> None:
    """Do as `kind` says, then answer until SIGTERM or the end of the supervisor."""
    spoiled = (folder / "spoiled").exists()
    if kind == "refused" or spoiled:
        raise StartError("the model is damaged")
    if kind == "broken":
        raise RuntimeError("a worker has a bug")
    if kind == "crash":
        os._exit(7)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang" or (kind == "hang-again" and (folder / "hung").exists()):
        time.sleep(600)
    if kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind != "stubborn":
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    models = sorted(assignment.served) or ["first@1.0.0"]
    _send(assignment.channel, {"kind": "serving", "models": models})
    if kind == "deaf":
        assignment.channel.close()
    _answer(assignment, models)


def _answer(assignment: Assignment, models: list[str]) -> None:
    assignment.listener.setblocking(True)
    assignment.listener.listen()
    while True:
        connection, _ = assignment.listener.accept()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        who = {
            "slot": assignment.slot,
            "pid": os.getpid(),
            "descriptors": descriptors,
            "models": models,
        }
        with connection:
            connection.sendall(json.dumps(who).encode())


def _send(channel: socket.socket, message: dict[str, object]) -> None:
    channel.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Supervise two workers until a signal."""
    kind, folder, *options = sys.argv[1:]
    configure_logging("info")
    seconds = {name: float(value) for name, value in (option.split("=") for option in options)}
    supervisor = Supervisor(
        host=HOST,
        port=0,
        count=2,
        work=partial(work, kind, Path(folder)),
        metrics=Path(folder),
        **{"stop_seconds": 20.0, **seconds},
    )
    try:
        supervisor.run()
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
