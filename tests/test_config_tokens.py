"""What master.cfg says of API tokens and of our rule: mistakes are named, secrets are not."""

from __future__ import annotations

import datetime
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import MasterConfig
from buildbot.plugins import util

from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import SelfServeBranch
from buildbot_selfserve.config import SelfServeEndpointMatcher
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.permissions import every_action
from tests.test_config import MASTER_CFG
from tests.test_config import checkconfig
from tests.test_config import mistakes

NAMES = "a list of names, or None for any"
WHEN = "a date such as '2030-12-31', or with a time '2030-12-31T18:00+01:00'"
ACTIONS = f"names or patterns of {', '.join(every_action())}"


def test_buildbot_finds_the_classes_by_their_entry_points() -> None:
    assert util.SelfServeToken is SelfServeToken
    assert util.SelfServeEndpointMatcher is SelfServeEndpointMatcher


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"secret": util.Secret("ci")},
        {"secret": util.Interpolate("%(secret:ci)s")},
        {"actions": []},
        {"actions": ["rebuild_build", "cancel_*", "new_weekly_at_revision", "*"]},
        {"branches": ("main", "release/*"), "builders": {"fast"}},
        {"expires": "2030-12-31"},
        {"expires": "2030-12-31T18:00Z"},
        {"expires": datetime.date(2030, 12, 31)},
        {"expires": datetime.datetime(2030, 12, 31, 18)},
    ],
)
def test_a_good_token_is_taken(given: dict[str, Any]) -> None:
    assert mistakes(SelfServeToken, "ci", **{"secret": "s" * 30, **given}) == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(("actions", value, NAMES) for value in ("rebuild_build", [5], [""], ["a\n"], {"a": 1})),
        *(("branches", value, NAMES) for value in ("main", [None], 5)),
        *(("builders", value, NAMES) for value in ("fast", [b"fast"])),
        *(
            ("expires", value, WHEN)
            for value in ("soon", "", "2030-13-01", "2030-12-31 later", 1893456000, True)
        ),
    ],
)
def test_a_mistake_in_a_token_is_named(key: str, value: Any, expected: str) -> None:
    assert mistakes(SelfServeToken, "ci", "s" * 30, **{key: value}) == [
        f"SelfServeToken('ci'): {key}={value!r} must be {expected}"
    ]


def test_an_action_that_does_not_exist_is_named() -> None:
    assert mistakes(SelfServeToken, "ci", "s" * 30, actions=["rebiuld_build"]) == [
        f"SelfServeToken('ci'): actions='rebiuld_build' must be {ACTIONS}"
    ]


@pytest.mark.parametrize("name", ["", " ", "n" * 101, "a\nb", None, 5])
def test_a_bad_name_is_named(name: Any) -> None:
    (mistake,) = mistakes(SelfServeToken, name, "s" * 30)
    assert mistake == (
        f"SelfServeToken({name!r}): name={name!r} must be a text of 1 to 100 characters"
    )


@pytest.mark.parametrize("secret", [None, "", " ", 5, b"hunter2", ["hunter2"]])
def test_a_bad_secret_is_reported_and_not_shown(secret: Any) -> None:
    (mistake,) = mistakes(SelfServeToken, "ci", secret)
    assert mistake == (
        "SelfServeToken('ci'): secret='...' must be a util.Secret, another renderable, or a text"
    )


def test_what_stands_in_a_wrong_place_is_not_shown() -> None:
    for arguments, more in ((("a", "hunter2"), {}), ((), {"secrte": "hunter2"})):
        reported = mistakes(SelfServeToken, "ci", "s" * 30, *arguments, **more)
        assert len(reported) == 1
        assert "hunter2" not in reported[0]


@pytest.mark.parametrize(
    ("expires", "timezone", "end"),
    [
        ("2030-06-30", "UTC", "2030-07-01T00:00:00+00:00"),
        ("2030-06-30", "Europe/Berlin", "2030-07-01T00:00:00+02:00"),
        ("2030-06-30T12:00", "Europe/Berlin", "2030-06-30T12:00:00+02:00"),
        ("2030-06-30T12:00Z", "Europe/Berlin", "2030-06-30T12:00:00+00:00"),
        ("2030-06-30T12:00:00.5-05:00", "UTC", "2030-06-30T12:00:00.500000-05:00"),
        (datetime.date(2030, 12, 31), "UTC", "2031-01-01T00:00:00+00:00"),
        (datetime.datetime(2030, 6, 30, 12), "Asia/Tokyo", "2030-06-30T12:00:00+09:00"),
        (
            datetime.datetime(2030, 6, 30, 12, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")),
            "UTC",
            "2030-06-30T12:00:00+09:00",
        ),
    ],
)
def test_when_a_token_ends(expires: Any, timezone: str, end: str) -> None:
    moment = SelfServeToken("ci", "s" * 30, expires=expires).end(timezone)
    assert moment is not None
    assert moment.isoformat() == end


def test_two_tokens_of_one_name_are_reported() -> None:
    tokens = [SelfServeToken("ci", "s" * 30), SelfServeToken("ci", "t" * 30)]
    assert mistakes(SelfServe, tokens=tokens) == [
        "SelfServe: tokens=['ci'] must be tokens of different names"
    ]


@pytest.mark.parametrize("tokens", ["hunter2", ["hunter2"], {"ci": "hunter2"}, [None]])
def test_what_is_no_list_of_tokens_is_reported_and_not_shown(tokens: Any) -> None:
    assert mistakes(SelfServe, tokens=tokens) == [
        "SelfServe: tokens='...' must be a list of util.SelfServeToken(...)"
    ]


def test_brackets_in_a_name_are_no_pattern_to_that_name() -> None:
    token = SelfServeToken("ci", "s" * 30, builders=["linux [64]"])
    assert token.refusal("rebuild_build", "main", ["linux [64]"]) == ""
    assert token.refusal("rebuild_build", "main", ["linux 4"]) == ""
    assert token.refusal("rebuild_build", "main", ["linux 5"]) != ""


# -- the rule


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"action": "rebuild_build"},
        {"branch": "try*", "builder": "fast", "defaultDeny": False},
    ],
)
def test_a_good_rule_is_taken(given: dict[str, Any]) -> None:
    assert mistakes(SelfServeEndpointMatcher, "devs", **given) == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("role", "", "the name of a role"),
        ("role", None, "the name of a role"),
        ("action", 5, "a text or None"),
        ("branch", ["main"], "a text or None"),
        ("builder", b"fast", "a text or None"),
        ("defaultDeny", "no", "True or False"),
    ],
)
def test_a_mistake_in_a_rule_is_named(key: str, value: Any, expected: str) -> None:
    assert mistakes(SelfServeEndpointMatcher, **{"role": "devs", key: value}) == [
        f"SelfServeEndpointMatcher: {key}={value!r} must be {expected}"
    ]


def loaded(action: str, stringsMatcher: Any, sets: dict[str, Any]) -> list[str]:
    """Return what is reported of a rule when a master.cfg with it is read."""
    rule = SelfServeEndpointMatcher(role="leads", action=action)
    branches = [SelfServeBranch("main", sets=sets)]
    www = {
        "authz": util.Authz(allowRules=[rule], stringsMatcher=stringsMatcher),
        "plugins": {"selfserve": SelfServe(branches=branches)},
    }
    with pytest.raises(ConfigErrors) as error:  # there are no workers
        MasterConfig.loadFromDict({"www": www}, "master.cfg")
    return [one for one in error.value.errors if "SelfServe" in one]


@pytest.mark.parametrize(
    ("action", "by_fnmatch", "by_re"),
    [
        ("rebuild_build", True, True),
        ("new_weekly_at_revision", True, True),  # a set of a branch that is configured later
        ("new_m*_at_revision", True, False),
        ("new_m.*_at_revision", False, True),
        ("cancel_*", True, True),
        ("cancel_.*", False, True),
        ("holdd*", False, True),
        ("rebuild|cancel", False, True),
        ("hold(", False, False),
        ("fill_*", False, False),
        ("frob", False, False),
    ],
)
def test_a_rule_that_never_matches_is_refused_by_its_own_matcher(
    action: str, by_fnmatch: bool, by_re: bool
) -> None:
    for fits, fine in ((util.fnmatchStrMatcher, by_fnmatch), (util.reStrMatcher, by_re)):
        found = loaded(action, fits, {"monthly": ["fast"]})
        assert (found == []) == fine, found
        for one in found:
            assert one.startswith(
                f"SelfServeEndpointMatcher: action={action!r} must be a pattern for its"
            )
            assert ("new_build_at_revision includes fill_missing" in one) == (action == "fill_*")


def test_checkconfig_refuses_a_rule_that_never_matches(tmp_path: Path) -> None:
    rule = "util.SelfServeEndpointMatcher(role='leads', action='cancel_.*')"
    more = f"\nBuildmasterConfig['www']['authz'] = util.Authz(allowRules=[{rule}])\n"
    done = checkconfig(tmp_path, MASTER_CFG.format(selfserve="util.SelfServe()") + more)
    assert done.returncode != 0
    assert "SelfServeEndpointMatcher: action='cancel_.*' must be a pattern" in done.stdout


def test_an_argument_that_rules_do_not_have_is_named() -> None:
    (mistake,) = mistakes(SelfServeEndpointMatcher, "devs", actions=["x"])
    assert "there is no argument 'actions'; it takes role, action, branch, builder" in mistake


def test_checkconfig_names_mistakes_and_no_secrets(tmp_path: Path) -> None:
    selfserve = (
        "util.SelfServe(tokens=[util.SelfServeToken('ci', 'hunter2', actions=['x']),"
        " util.SelfServeToken('ci', b'hunter2')])"
    )
    done = checkconfig(tmp_path, MASTER_CFG.format(selfserve=selfserve))
    assert done.returncode != 0
    assert "SelfServeToken('ci'): actions='x' must be" in done.stdout
    assert "SelfServeToken('ci'): secret='...' must be" in done.stdout
    assert "tokens=['ci'] must be tokens of different names" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_mistake_outside_of_master_cfg_raises() -> None:
    with pytest.raises(ConfigErrors, match="expires='soon'"):
        SelfServeToken("ci", "s" * 30, expires="soon")
