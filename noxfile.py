"""Runs what depends on the Python and on the versions around: ``nox --list``.

``make check`` runs everything on one Python. Here the wheel is installed into an empty environment,
and the quick tests run on each Python that is there, and on the oldest dependencies that setup.py
admits. An interpreter that is missing is said to be; nox does not pass it over in silence.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
OLDEST = PYTHONS[0]
#: Every floor of the house, on SQLite, in some three minutes.
QUICK = [
    "tests/test_config.py",
    "tests/test_contract.py",
    "tests/test_job_requests.py",
    "tests/test_layers.py",
    "tests/test_new_builds.py",
    "tests/test_openapi.py",
    "tests/test_params.py",
    "tests/test_reads.py",
    "tests/test_render.py",
    "tests/test_routes.py",
    "tests/test_authentication.py",
]

if shutil.which("pyenv"):
    # its Pythons are no commands that work unless they are chosen; nox looks for commands
    _root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout
    _pythons = sorted(Path(_root.strip(), "versions").glob("3.*/bin"))
    os.environ["PATH"] = os.pathsep.join([*map(str, _pythons), os.environ["PATH"]])

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the quick tests on this Python and the newest dependencies."""
    session.install("--editable", ".[cli,demo,test]")
    _quick(session)


@nox.session(python=OLDEST)
def oldest(session: nox.Session) -> None:
    """Run the quick tests on the oldest dependencies that setup.py admits."""
    session.install("build", "setuptools>=68")
    admitted = Path(session.create_tmp(), "oldest.txt")
    lines = filter(None, map(_as_oldest, _requirements(session)))
    admitted.write_text("\n".join(lines) + "\n")
    session.log(f"the oldest: {' '.join(admitted.read_text().split())}")
    session.install("--constraint", str(admitted), "--editable", ".[cli,demo,test]")
    _quick(session)


@nox.session
def stranger(session: nox.Session) -> None:
    """Install the wheel of ``dist`` into an empty environment, and use it as a stranger does."""
    wheels = sorted(Path("dist").glob("*.whl"))
    if len(wheels) != 1:
        session.error("dist must hold one wheel: run `make dist`")
    wheel = wheels[0].resolve()
    session.install(str(wheel), "buildbot-worker>=4.3,<5")
    session.run("python", "tests/check_wheel.py")
    session.install(f"{wheel}[cli]", "mypy", "types-requests")
    # of a copy: beside the sources, mypy would look at those
    script = Path(session.create_tmp(), "consumer.py").resolve()
    script.write_text(Path("tests/consumer.py").read_text())
    session.chdir(script.parent)
    # nor by the settings of the checkout above it
    session.run("python", "-m", "mypy", "--config-file=", "--strict", str(script))


def _quick(session: nox.Session) -> None:
    session.run(
        *("python", "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "--numprocesses=2"),
        *("-W", "ignore", "-k", "not postgresql and not mariadb"),
        *(session.posargs or QUICK),
    )


def _requirements(session: nox.Session) -> list[str]:
    """Return what the package itself requires, with its extra for the command line."""
    code = (
        "import build.util; metadata = build.util.project_wheel_metadata('.', isolated=False);"
        "print('\\n'.join(metadata.get_all('Requires-Dist')))"
    )
    printed = str(session.run("python", "-c", code, silent=True))
    lines = [line.strip().replace('"', "'") for line in printed.splitlines()]
    return [line for line in lines if "extra ==" not in line or "extra == 'cli'" in line]


def _as_oldest(requirement: str) -> str | None:
    """Return the constraint to the oldest version that a requirement admits."""
    match = re.match(r"([A-Za-z0-9._-]+)[^;]*>=([0-9][0-9.]*)", requirement)
    return f"{match[1]}=={match[2]}" if match else None
