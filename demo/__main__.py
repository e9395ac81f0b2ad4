"""Runs the demo: ``python -m demo``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from demo.buildmaster import Buildmaster
from demo.client import Client
from demo.client import Differs
from demo.folder import note_process
from demo.folder import take
from demo.repository import Repository
from demo.walk import walk


def main() -> int:
    """Run the demo; return 0 if everything was as Buildbot's own REST API has it."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("demo-run"), help="made anew (default: demo-run)"
    )
    # ended from outside, it still ends the master
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    folder = parser.parse_args().folder.absolute()
    lock = take(folder)
    (folder / "master").mkdir()
    print(f"Making a git repository and a Buildbot master in {folder}")
    repository = Repository(folder)
    master = Buildmaster(folder / "master", repository.bare)
    try:
        # it goes on when this process is killed
        note_process(lock, master.start(inherits=[lock]))
        print(f"The master runs at {master.url}")
        walk(Client(master.url), repository)
        print("\nEverything is as Buildbot's own REST API has it.")
        if sys.stdin.isatty():
            _serve(master)
    except Differs as difference:
        print(f"\nFAILED: {difference}\nThe master's log: {master.log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    finally:
        master.stop()
    return 0


def _serve(master: Buildmaster) -> None:
    print(f"\n{invitation(master.url, Path(sys.executable).parent)}", flush=True)
    master.wait()
    print("The master has ended.")


def invitation(url: str, commands: Path) -> str:
    """Return what to do with a master at *url*, and with the folder of *commands*."""
    return f"""\
Look around:      {url}/self-serve
Buildbot's pages: {url}/
Log in as demo, password demo; guest, password guest, may only look. In another terminal:

    export PATH="{commands}:$PATH"
    export SELFSERVE_URL={url} SELFSERVE_USER=demo SELFSERVE_PASSWORD=demo
    selfserve pushes release

Ctrl-C ends it."""


if __name__ == "__main__":
    sys.exit(main())
