"""Runs the demo: ``python -m demo``."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path

from demo.buildmaster import Buildmaster
from demo.client import Client
from demo.client import Differs
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
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "master").mkdir(parents=True)
    print(f"Making a git repository and a Buildbot master in {folder}")
    repository = Repository(folder)
    master = Buildmaster(folder / "master", repository.bare)
    try:
        master.start()
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
    print(f"\nLook around:      {master.url}/self-serve")
    print(f"Buildbot's pages: {master.url}/")
    print("Log in as demo, password demo. From another terminal:")
    who = "SELFSERVE_USER=demo SELFSERVE_PASSWORD=demo"
    command = Path(sys.executable).with_name("selfserve")
    print(f"    SELFSERVE_URL={master.url} {who} {command} builds main")
    print("Ctrl-C ends it.", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
