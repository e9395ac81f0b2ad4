"""A script as users write them: the types of the installed package hold in it (noxfile.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from buildbot_selfserve import config
from buildbot_selfserve.client import Client
from buildbot_selfserve.client.rows import Receipt

if TYPE_CHECKING:
    from typing_extensions import assert_type


def rebuild(client: Client, branch: str, build_id: int) -> Receipt:
    receipt = client.rebuild_build(branch, build_id, count=2)
    assert_type(receipt, Receipt)
    assert_type(receipt["job_id"], int)
    # were there no types, these comments would be needless, which mypy would tell
    client.rebuild_build(branch, "one")  # type: ignore[call-overload]
    receipt["nothing"]  # type: ignore[misc]
    return receipt


def reason(client: Client, branch: str, build_id: int) -> str | None:
    request = client.build_row(branch, build_id)["requests"][0]
    assert_type(request["properties"], dict[str, Any])
    return request["reason"]


def plugin() -> config.SelfServe:
    assert_type(config.SelfServe(max_count=7).max_count, int)
    return config.SelfServe(
        branches=[config.SelfServeBranch("main", sets={"nightly": ["tests"]})], timeout=5
    )
