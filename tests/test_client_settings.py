"""Where self-serve is, and who asks: what is said first holds, and no secret is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildbot_selfserve.client import Credentials
from buildbot_selfserve.client import load
from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.settings import Settings
from buildbot_selfserve.client.settings import complete_url

URL = "https://ci.example.org/self-serve"
SECRET = "hunter%2 2"

Load = Callable[..., Settings]


class Home:
    """A home folder with files, and what was warned of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warnings: list[str] = []

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def config(self, text: str, mode: int = 0o600) -> Path:
        return self.write(".config/selfserve/config.ini", f"[selfserve]\n{text}", mode)

    def netrc(self, text: str, mode: int = 0o600) -> Path:
        return self.write(".netrc", text, mode)

    def load(self, url: str | None = None, config: Path | None = None, **environ: str) -> Settings:
        environ.setdefault("HOME", str(self.folder))
        return load(url, config, environ, self.warnings.append)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# -- where


def test_without_a_place_it_says_how_to_name_one(home: Home) -> None:
    with pytest.raises(Misconfigured, match="SELFSERVE_URL") as caught:
        home.load()
    assert str(home.folder / ".config/selfserve/config.ini") in str(caught.value)


def test_an_argument_comes_before_the_environment_and_that_before_the_file(home: Home) -> None:
    home.config("url = http://file/s")
    assert home.load().url == "http://file/s"
    assert home.load(SELFSERVE_URL="http://environment/s").url == "http://environment/s"
    assert home.load("http://argument/s", SELFSERVE_URL="http://x/s").url == "http://argument/s"


def test_the_file_may_be_elsewhere(home: Home) -> None:
    home.config("url = http://usual/s")
    home.write("xdg/selfserve/config.ini", "[selfserve]\nurl = http://xdg/s\n")
    named = home.write("named.ini", "[selfserve]\nurl = http://named/s\n")
    other = home.write("other.ini", "[selfserve]\nurl = http://other/s\n")
    xdg: dict[str, Any] = {"XDG_CONFIG_HOME": str(home.folder / "xdg")}
    assert home.load(**xdg).url == "http://xdg/s"
    assert home.load(XDG_CONFIG_HOME="relative").url == "http://usual/s"
    assert home.load(**xdg, SELFSERVE_CONFIG=str(named)).url == "http://named/s"
    assert home.load(config=other, **xdg, SELFSERVE_CONFIG=str(named)).url == "http://other/s"


def test_a_file_that_is_named_must_exist(home: Home) -> None:
    missing = str(home.folder / "missing.ini")
    with pytest.raises(Misconfigured, match=r"missing\.ini"):
        home.load(URL, SELFSERVE_CONFIG=missing)


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("http://localhost:8010", "http://localhost:8010/self-serve"),
        ("http://localhost:8010/", "http://localhost:8010/self-serve"),
        (f"{URL}/", URL),
        (
            "https://ci.example.org/buildbot/self-serve",
            "https://ci.example.org/buildbot/self-serve",
        ),
        ("http://localhost:", "http://localhost/self-serve"),
        ("http://[::1]:8010", "http://[::1]:8010/self-serve"),
    ],
)
def test_a_url_is_that_of_self_serve_itself(given: str, whole: str) -> None:
    assert complete_url(given) == whole


@pytest.mark.parametrize(
    "given",
    [
        "ci.example.org",
        "ftp://ci.example.org",
        "http://",
        "http://ci.example.org:port/",
        "http://ci..example.org/",
        f"http://{'x' * 64}.example.org/",
        f"https://ada:{SECRET}@ci.example.org/",
        f"{URL}?token={SECRET}",
        f"{URL}#x",
    ],
)
def test_a_url_that_is_none_or_more_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        complete_url(given)
    assert SECRET not in str(caught.value)


# -- who


def test_a_token_comes_before_a_password_and_the_environment_before_the_files(home: Home) -> None:
    home.netrc(f"machine ci.example.org login netrc password {SECRET.replace(' ', '')}\n")
    assert home.load(URL).credentials == Credentials(user="netrc", password="hunter%22")
    home.config(f"url = {URL}\nuser = file\npassword = {SECRET}\n")
    assert home.load().credentials == Credentials(user="file", password=SECRET)
    home.config(f"url = {URL}\nuser = file\npassword = {SECRET}\ntoken = of-file\n")
    assert home.load().credentials == Credentials(token="of-file")
    environ: dict[str, Any] = {"SELFSERVE_USER": "ada", "SELFSERVE_PASSWORD": "lovelace"}
    assert home.load(**environ).credentials == Credentials(user="ada", password="lovelace")
    environ["SELFSERVE_TOKEN"] = "of-environment"
    assert home.load(**environ).credentials == Credentials(token="of-environment")


def test_nobody_in_particular_asks_when_nobody_is_named(home: Home) -> None:
    home.netrc("machine other.example.org login ada password x\n")
    assert home.load(URL).credentials is None


@pytest.mark.parametrize(
    "other",
    [
        "https://evil.example.org/self-serve",
        "http://ci.example.org/self-serve",
        "https://ci.example.org:8443/self-serve",
    ],
)
def test_what_the_file_knows_is_not_told_to_another_server(home: Home, other: str) -> None:
    home.config(f"url = {URL}\ntoken = of-file\n")
    assert home.load(f"{URL}-2").credentials == Credentials(token="of-file")
    assert home.load(other).credentials is None


def test_netrc_may_be_elsewhere(home: Home) -> None:
    path = home.write("netrc", "machine ci.example.org login ada password x\n")
    assert home.load(URL, NETRC=str(path)).credentials == Credentials(user="ada", password="x")


@pytest.mark.parametrize("missing", ["user", "password"])
def test_half_of_the_credentials_is_refused(home: Home, missing: str) -> None:
    environ: dict[str, Any] = {"SELFSERVE_USER": "ada", "SELFSERVE_PASSWORD": SECRET}
    del environ[f"SELFSERVE_{missing.upper()}"]
    with pytest.raises(Misconfigured, match=f"SELFSERVE_{missing.upper()} is missing") as caught:
        home.load(URL, **environ)
    assert SECRET not in str(caught.value)
    given = "\n".join(f"{key} = {SECRET}" for key in ("user", "password") if key != missing)
    path = home.config(f"url = {URL}\n{given}\n")
    with pytest.raises(Misconfigured, match=f"{missing} in {path} is missing"):
        home.load()


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Other: 1", "ключ", "\x00"])
def test_a_token_that_no_header_can_carry_is_refused(home: Home, token: str) -> None:
    with pytest.raises(Misconfigured, match="SELFSERVE_TOKEN is invalid: A token") as caught:
        home.load(URL, SELFSERVE_TOKEN=token)
    assert token not in str(caught.value)


def test_where_credentials_stand_that_cannot_be_sent_is_said(home: Home) -> None:
    both = "SELFSERVE_USER or SELFSERVE_PASSWORD is invalid: A user name cannot contain a colon"
    with pytest.raises(Misconfigured, match=both):
        home.load(URL, SELFSERVE_USER="a:b", SELFSERVE_PASSWORD=SECRET)
    path = home.config(f"url = {URL}\ntoken = two words\n")
    with pytest.raises(Misconfigured, match=f"token in {path} is invalid"):
        home.load()


def test_credentials_do_not_show_what_is_secret() -> None:
    for one in (Credentials(token="geheim"), Credentials(user="ada", password="geheim")):
        assert "geheim" not in repr(one)
        assert "geheim" not in repr(Settings(URL, one))


# -- files


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_warned_of(home: Home, mode: int) -> None:
    path = home.config(f"url = {URL}\ntoken = of-file\n", mode)
    home.load()
    assert home.warnings == [
        f"{path} contains a secret but other users can read it: chmod 600 {path}"
    ]


def test_a_netrc_that_others_can_read_is_warned_of(home: Home) -> None:
    path = home.netrc("machine ci.example.org login ada password x\n", 0o644)
    home.load(URL)
    assert home.warnings == [
        f"{path} contains a secret but other users can read it: chmod 600 {path}"
    ]


def test_nothing_is_warned_of_where_there_is_no_reason(home: Home) -> None:
    home.config(f"url = {URL}\n", 0o644)
    home.netrc("machine other.example.org login ada password x\n", 0o644)
    home.load()
    home.config(f"url = {URL}\ntoken = of-file\n")
    home.load()
    # accounts of machines often have no home, or one that is no folder
    home.load(URL, HOME=os.devnull)
    assert home.warnings == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[selfserve]\ntokens = hunter2\n", "'tokens'"),
        ("[other]\ntoken = hunter2\n", "'other'"),
        ("token = hunter2\n", "line 1"),
        ("[selfserve]\nhunter2\n", "line 2"),
        ("[selfserve]\ntoken = hunter2\n", "no url"),
        ("[selfserve]\nurl = x\ntoken = hunter2\ntoken = hunter2\n", "line 4"),
    ],
)
def test_a_wrong_file_is_named_without_its_secrets(home: Home, text: str, said: str) -> None:
    path = home.write(".config/selfserve/config.ini", text)
    with pytest.raises(Misconfigured) as caught:
        home.load(URL)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_netrc_is_named_without_its_secrets(home: Home) -> None:
    path = home.netrc("machine ci.example.org login ada\npasswort hunter2\n")
    with pytest.raises(Misconfigured, match="line 2") as caught:
        home.load(URL, NETRC=str(path))
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    # where nobody named it, it may be for others
    assert home.load(URL).credentials is None
    (warning,) = home.warnings
    assert f"{path} is ignored" in warning
    assert "hunter2" not in warning


def test_what_nobody_named_and_nobody_can_read_is_left_out(home: Home) -> None:
    for place in (".config/selfserve/config.ini", ".netrc"):
        (home.folder / place).mkdir(parents=True)  # also root cannot read a folder as a file
    assert home.load(URL) == Settings(URL)
    assert [warning.split()[0] for warning in home.warnings] == [
        str(home.folder / ".config/selfserve/config.ini"),
        str(home.folder / ".netrc"),
    ]
    for name in ("NETRC", "SELFSERVE_CONFIG"):
        named: dict[str, Any] = {name: str(home.folder)}
        with pytest.raises(Misconfigured, match="cannot be read"):
            home.load(URL, **named)


def test_somebody_without_a_home_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    assert load(URL, environ={}) == Settings(URL)
    with pytest.raises(Misconfigured, match="SELFSERVE_URL"):
        load(environ={})
