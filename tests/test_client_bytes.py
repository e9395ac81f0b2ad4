"""The command takes whatever bytes its environment, its arguments and its files are made of."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

from buildbot_selfserve.client import Credentials
from buildbot_selfserve.client.errors import Misconfigured
from tests import PATIENCE
from tests import zygote
from tests.ports import free_port
from tests.zygote import SELFSERVE

NOT_UTF_8 = b"caf\xe9"
USAGE, NOT_NOW = 2, 5


def run(
    home: Path, *arguments: bytes, environ: dict[bytes, bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command against a server that is not there, or which its settings forbid."""
    url = f"http://127.0.0.1:{free_port()}".encode()
    given = {b"HOME": os.fsencode(home), b"PATH": os.environb[b"PATH"], b"SELFSERVE_URL": url}
    return zygote.run(
        [SELFSERVE, "--patience", "0", *arguments],
        env={**given, **(environ or {})},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({b"SELFSERVE_USER": b"ada", b"SELFSERVE_PASSWORD": NOT_UTF_8}, NOT_NOW),
        ({b"SELFSERVE_USER": NOT_UTF_8, b"SELFSERVE_PASSWORD": b"x"}, NOT_NOW),
        ({b"SELFSERVE_TOKEN": NOT_UTF_8}, USAGE),
        ({b"SELFSERVE_URL": b"http://127.0.0.1:1/" + NOT_UTF_8}, USAGE),
        ({b"SELFSERVE_URL": b"http://" + NOT_UTF_8}, USAGE),
        ({b"SELFSERVE_CONFIG": NOT_UTF_8}, USAGE),
        ({b"NETRC": NOT_UTF_8}, USAGE),
        ({b"HOME": NOT_UTF_8}, NOT_NOW),
        ({b"XDG_CONFIG_HOME": b"/" + NOT_UTF_8}, NOT_NOW),
    ],
)
def test_bytes_in_the_environment_make_no_traceback(
    tmp_path: Path, environ: dict[bytes, bytes], status: int
) -> None:
    done = run(tmp_path, b"branches", environ=environ)
    assert b"Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    assert b"\xe9" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (b"builds", NOT_UTF_8),
        (b"builds", b"main", b"--date", NOT_UTF_8),
        (b"branches", b"--revision", NOT_UTF_8),
        (b"jobs", b"--who", NOT_UTF_8),
        (b"is-done", NOT_UTF_8, NOT_UTF_8),
        (b"--url", NOT_UTF_8, b"branches"),
        (b"--config", NOT_UTF_8, b"branches"),
        (NOT_UTF_8,),
    ],
)
def test_bytes_in_arguments_make_no_traceback(tmp_path: Path, arguments: tuple[bytes, ...]) -> None:
    done = run(tmp_path, *arguments)
    assert b"Traceback" not in done.stderr
    assert done.returncode in (USAGE, NOT_NOW), done.stderr


def test_bytes_in_the_url_of_a_page_make_no_traceback(tmp_path: Path) -> None:
    browser = {b"BROWSER": b"/bin/true"}
    done = run(tmp_path, b"jobs", b"--who", NOT_UTF_8, b"--web", environ=browser)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (".config/selfserve/config.ini", b"\xef\xbb\xbf[selfserve]\nuser=ada\n", b"password"),
        (".config/selfserve/config.ini", b"[selfserve]\nuser=" + NOT_UTF_8, b"it is not UTF-8"),
        (".config/selfserve/config.ini", "[selfserve]\nuser=ada".encode("utf-16"), b"password"),
        (".config/selfserve/config.ini", b"\x00\x01[selfserve]", b"not a valid configuration file"),
        (".netrc", b"machine 127.0.0.1 login ada password " + NOT_UTF_8, b""),
        (".netrc", b"\xef\xbb\xbfmachine 127.0.0.1 login ada password x", b""),
        (".netrc", b"machine \x00 login", b""),
    ],
)
def test_bytes_in_files_make_no_traceback(
    tmp_path: Path, name: str, content: bytes, told: bytes
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    done = run(tmp_path, b"branches")
    assert b"Traceback" not in done.stderr
    assert told in done.stderr
    assert done.returncode in (USAGE, NOT_NOW), done.stderr


def test_bytes_of_a_password_are_sent_as_they_are() -> None:
    password = NOT_UTF_8.decode("utf-8", "surrogateescape")
    header = Credentials(user="ada", password=password).header()
    assert base64.b64decode(header.removeprefix("Basic ")) == b"ada:" + NOT_UTF_8
    with pytest.raises(Misconfigured, match="not valid text"):
        Credentials(user="ada", password="\ud800")
