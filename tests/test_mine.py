"""The pushes of who is logged in: by which names a user is known, on a master."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
import pytest_twisted

from tests.harness import USER
from tests.harness import Master
from tests.push_history import sha
from tests.test_authentication import session_of
from tests.test_authentication import with_oauth

AUTHORS = {
    "a": "Ada Lovelace <ada@example.org>",
    "b": "ada",
    "c": "Adam <adam@example.org>",
    "d": "Ada Lovelace",
    "e": "Ada Lovelace <ada@elsewhere.example>",
}


async def pushed(master: Master) -> None:
    for name, author in AUTHORS.items():
        await master.add_change(author=author, revision=sha(name), branch="main")


async def mine(master: Master, user_info: dict[str, Any]) -> tuple[str, str, str]:
    """Return whose pushes the link "Mine" shows, whose others the page names, and the page."""
    headers = session_of(master, user_info)
    root = await master.get("/self-serve", json=False, headers=headers)
    path = unescape(root.text.partition('">Mine</a>')[0].rpartition('href="')[2].split('"')[0])
    page = await master.get(path, json=False, headers=headers)
    assert page.status == 200, page.text
    assert page.text.count('aria-current="true">Mine') == 1 or '"page">Mine' in page.text
    pushes = (await master.get(path)).json
    told = "".join(
        sorted(name for name in AUTHORS for one in pushes if one["revision"] == sha(name))
    )
    similar = page.text.partition("Similar authors:")[2].partition("</ul>")[0]
    others = {name for name, author in AUTHORS.items() if f">{author}<" in unescape(similar)}
    return told, "".join(sorted(others)), page.text


@pytest.mark.parametrize("master", [with_oauth], indirect=True)
@pytest_twisted.ensureDeferred
async def test_mine_has_what_is_of_one_of_my_names_and_of_nobody_else(master: Any) -> None:
    await pushed(master)
    # the login is the author, or else what is before the @ of several people's addresses
    told, others, page = await mine(master, {"username": "ada"})
    assert (told, others) == ("b", "ade")
    assert "Part of a name is not enough" in page
    # the login is the address
    assert (await mine(master, {"username": "ADA@example.org"}))[:2] == ("a", "bde")
    # what OAuth tells: address, name and login; the address has its namesakes
    known = {"email": "ada@example.org", "full_name": "Ada Lovelace", "username": "ada"}
    assert (await mine(master, known))[:2] == ("abd", "e")
    assert (await mine(master, {**known, "email": None}))[:2] == ("bd", "ae")
    # nobody of that name
    told, others, page = await mine(master, {"username": "lovelace"})
    assert (told, others) == ("", "ade")
    assert "Buildbot has no change of this author." in page
    assert (await mine(master, {"username": "ad"}))[:2] == ("", "")
    assert (await mine(master, {"username": "a&b=c <x>", "full_name": "é/?"}))[:2] == ("", "")


@pytest_twisted.ensureDeferred
async def test_mine_leads_to_what_i_requested_without_a_change_of_mine(master: Any) -> None:
    build = await master.finished_build()
    await master.finished_build(branch="feature/x")
    path = f"/self-serve/user/{USER}/pushes"
    page = await master.get(path, json=False)
    assert ('id="asked"' in page.text, "<kbd>" in page.text) == (False, False)
    receipt = await master.post(
        "/self-serve/main/build", user=USER, data={"build_id": build["buildid"]}
    )
    assert receipt.status == 202
    page = await master.get(path, json=False)
    assert "Buildbot has no change of this author." in page.text
    links = [f"/self-serve/jobs?who={USER}", f"/self-serve/main/user/{USER}"]
    assert all(f'href="{link}"' in page.text for link in links)
    assert "feature%2Fx" not in page.text
    for link in links:
        assert (await master.get(link, json=False)).status == 200


@pytest.mark.parametrize("master", [with_oauth], indirect=True)
@pytest_twisted.ensureDeferred
async def test_pages_of_several_names_follow_each_other(master: Any) -> None:
    await pushed(master)
    path, found = "/self-serve/user/ada@example.org/pushes?also=ada&also=Ada%20Lovelace&limit=1", ""
    while path:
        answer = await master.get(path)
        found += "".join(name for name in AUTHORS if answer.json[0]["revision"] == sha(name))
        path = (answer.header("link") or "").partition("<")[2].partition('>; rel="next"')[0]
    assert found == "dba"
    bad = await master.get(
        "/self-serve/user/ada/pushes?" + "&".join(f"also={one}" for one in range(11))
    )
    assert (bad.status, bad.json["msg"]) == (400, "Bad also")
    assert "1 to 10 names" in str(bad.json)
