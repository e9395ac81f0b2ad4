"""Fixtures: a running master for each test that asks for one."""

from __future__ import annotations

from typing import Any

import pytest_twisted


@pytest_twisted.async_yield_fixture
async def master(tmp_path: Any, monkeypatch: Any, request: Any) -> Any:
    """Run the master whose configuration ``@pytest.mark.parametrize(indirect=True)`` makes."""
    # here, not above: importing Buildbot installs the reactor
    from tests import harness

    make = getattr(request, "param", harness.config)
    async with harness.running_master(tmp_path, monkeypatch, make) as running:
        yield running
