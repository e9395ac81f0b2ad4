"""The recipes for nginx in docs/recipes, on Debian's nginx."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import threads

from tests import PATIENCE
from tests import documented
from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import Config
from tests.harness import config
from tests.ports import free_port

BRANCH = "feature/x"
FRAME = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""


def recipes() -> list[str]:
    """Return the recipes that the guide leads to: without a path in buildbotURL, and with one."""
    return [
        (documented.DOCS / "recipes" / name).read_text("utf-8")
        for name in ("nginx.conf", "nginx-with-path.conf")
    ]


@contextmanager
def nginx(recipe: str, port: int, master_port: int, folder: Path) -> Iterator[None]:
    """Run nginx with a *recipe* of the documents in front of a master."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        # in CI nothing may be left out
        assert not os.environ.get("CI"), "nginx is not installed"
        pytest.skip("nginx is not installed: its recipes were not tried")
    recipe = recipe.replace("127.0.0.1:8010", f"127.0.0.1:{master_port}")
    http, _, server = recipe.partition("# in the server block")
    file = folder / "nginx.conf"
    file.write_text(FRAME.format(folder=folder, port=port, http=http, server=server))
    process = subprocess.Popen([binary, "-c", str(file), "-p", str(folder)], stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        yield
    finally:
        process.terminate()
        process.wait(10)


def send(url: str, method: str = "GET", data: bytes | None = None) -> tuple[int, str, str]:
    """Send a request; return the status, the body and the Location, which is not followed."""
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    passwords.add_password(None, url, USER, PASSWORD, is_authenticated=True)
    opener = urllib.request.build_opener(_Stay, urllib.request.HTTPBasicAuthHandler(passwords))
    request = urllib.request.Request(url, data, method=method)
    request.add_header("Accept", "application/json")
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode(), ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers.get("Location", "")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def test_both_recipes_are_found() -> None:
    assert ["map" in recipe for recipe in recipes()] == [False, True]


@pytest.mark.parametrize(("number", "prefix"), [(0, ""), (1, "/buildbot")])
@pytest_twisted.ensureDeferred
async def test_a_recipe_passes_on_what_clients_send(
    number: int, prefix: str, master: Any, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}{prefix}"

    def behind_it() -> Config:
        return {**config(), "buildbotURL": f"{url}/"}

    await master.reconfig(behind_it)
    await master.finished_build(branch=BRANCH)
    folder = tmp_path / "nginx"
    folder.mkdir()
    with nginx(recipes()[number], port, master.loader.port, folder):
        own = f"{url}/self-serve"

        async def ask(path: str, *more: Any) -> tuple[int, str, str]:
            answer: tuple[int, str, str] = await threads.deferToThread(send, own + path, *more)
            return answer

        status, rows, _ = await ask("/feature%2Fx")
        assert (status, '"build_id":1' in rows) == (200, True)
        assert (await ask("/feature/x"))[0] == 404
        status, _, location = await ask("/feature%2Fx/builders/")
        assert (status, location) == (301, f"{prefix}/self-serve/feature%2Fx/builders")
        status, receipt, _ = await ask("/feature%2Fx/build", "POST", b"build_id=1")
        assert (status, f'"job_url":"{prefix}/self-serve/jobs/1"' in receipt) == (202, True)
        assert (await ask("/feature%2Fx/build", "POST", b"x" * 70_000))[0] == 413
        status, page, _ = await threads.deferToThread(send, f"{url}/")
        assert (status, "Buildbot" in page) == (200, True)


@pytest_twisted.ensureDeferred
async def test_a_slash_after_the_address_breaks_names_with_a_slash(
    master: Any, tmp_path: Path
) -> None:
    await master.finished_build(branch=BRANCH)
    port = free_port()
    wrong = recipes()[0].replace(":8010;", ":8010/;")
    with nginx(wrong, port, master.loader.port, tmp_path):
        url = f"http://127.0.0.1:{port}/self-serve/feature%2Fx"
        assert (await threads.deferToThread(send, url))[0] == 404
