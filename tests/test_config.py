"""What master.cfg says: good values are kept, every mistake is named."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.config.errors import ConfigErrors
from buildbot.config.errors import capture_config_errors
from buildbot.config.master import MasterConfig
from buildbot.plugins import util
from buildbot.www.config import serialize_www_frontend_config_dict_to_json

from buildbot_selfserve.collapse import collapse_spare
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import SelfServeBranch
from buildbot_selfserve.config import SelfServeLimits
from buildbot_selfserve.config import configured
from buildbot_selfserve.model import NO_LIMITS
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Limits
from tests import PATIENCE
from tests import harness
from tests import process_master
from tests import reaper
from tests.process_master import BUILDBOT
from tests.process_master import ProcessMaster

EXAMPLE = Path(__file__).parent.parent / "master.cfg.example"

MASTER_CFG = """
from buildbot.plugins import schedulers, util, worker

c = BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "protocols": {{"null": {{}}}},
    "workers": [worker.LocalWorker("worker")],
    "builders": [
        util.BuilderConfig(name="fast", workernames=["worker"], factory=util.BuildFactory())
    ],
    "schedulers": [schedulers.ForceScheduler(name="force", builderNames=["fast"])],
    "www": {{"port": 8010, "plugins": {{"selfserve": {selfserve}}}}},
}}
"""


def mistakes(make: Callable[..., Any], *args: Any, **more: Any) -> list[str]:
    """Return all that is reported when *make* is called."""
    with capture_config_errors() as errors:
        make(*args, **more)
    reported: list[str] = errors.errors
    return reported


# -- SelfServe


def test_everything_has_a_default() -> None:
    config = SelfServe()
    assert config.path == "self-serve"
    assert config.branches is None
    assert config.require_login is True
    assert config.max_count == 100
    assert config.backfill_priority == -1
    assert config.timeout == 10
    assert config.db_url is None
    assert config.keep_jobs is None
    assert config.readers == 1
    assert config.gc_freeze is True
    assert config.timezone == "UTC"
    assert config.max_waiting == 1000
    assert config.max_waiting_per_client == 600


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", "ci"),
        ("path", "tools/self-serve"),
        ("path", "a.b_c~d-1"),
        ("require_login", True),
        ("require_login", False),
        ("gc_freeze", False),
        ("max_count", 1),
        ("max_count", 10000),
        ("backfill_priority", -(2**31)),
        ("backfill_priority", 2**31 - 1),
        ("max_waiting", 0),
        ("max_waiting_per_client", 100000),
        ("timeout", 1),
        ("timeout", 2.5),
        ("timeout", 600),
        ("db_url", None),
        ("db_url", "sqlite:///journal.sqlite"),
        ("db_url", "postgresql+psycopg2://user:pass@db.example.org:5432/journal"),
        ("db_url", util.Secret("journal")),
        ("db_url", util.Interpolate("postgresql://%(secret:journal)s@db/journal")),
        ("keep_jobs", None),
        ("keep_jobs", 1),
        ("keep_jobs", 7.5),
        ("keep_jobs", 36500),
        ("readers", 0),
        ("readers", 16),
        ("timezone", "UTC"),
        ("timezone", "Europe/Berlin"),
    ],
)
def test_a_good_argument_is_kept(key: str, value: Any) -> None:
    assert mistakes(SelfServe, **{key: value}) == []
    assert getattr(SelfServe(**{key: value}), key) == value


@pytest.mark.parametrize("tokens", [None, []])
def test_no_tokens_are_good_tokens(tokens: Any) -> None:
    assert mistakes(SelfServe, tokens=tokens) == []


def test_slashes_around_the_path_do_not_matter() -> None:
    assert SelfServe(path="/tools/self-serve/").segments == ("tools", "self-serve")


def test_branches_are_kept_in_their_order() -> None:
    main, beta = SelfServeBranch("main"), SelfServeBranch("beta")
    assert SelfServe(branches=[main, beta]).branches == (main, beta)


PATH = "one or several plain URL segments, such as 'self-serve'"
ONE_TO_600 = "a number from 1 to 600"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(
            ("path", value, PATH)
            for value in (
                "",
                "/",
                "a//b",
                "..",
                "a/./b",
                "a b",
                "ä",
                "a?b",
                "a%2Fb",
                "a\n",
                None,
                5,
            )
        ),
        ("path", "api", "another name: this one is Buildbot's own"),
        ("path", "/auth/self-serve", "another name: this one is Buildbot's own"),
        ("branches", "main", "a list of util.SelfServeBranch(...) or None"),
        ("branches", ["main"], "a list of util.SelfServeBranch(...) or None"),
        ("branches", {"main": {}}, "a list of util.SelfServeBranch(...) or None"),
        ("require_login", "no", "True or False"),
        ("require_login", None, "True or False"),
        ("require_login", 0, "True or False"),
        *(
            ("max_count", value, "a whole number from 1 to 10000")
            for value in (0, -1, 10001, 1.5, "5", None, True)
        ),
        *(
            ("backfill_priority", value, f"a whole number from -{2**31} to {2**31 - 1}")
            for value in (-(2**31) - 1, 2**31, 0.5, "-1", None, True)
        ),
        *(
            ("timeout", value, ONE_TO_600)
            for value in (0, 0.5, 601, float("inf"), "10", None, True)
        ),
        *(
            ("keep_jobs", value, "a number from 1 to 36500")
            for value in (0, 0.9, -1, 36501, float("inf"), "30", True, False)
        ),
        *(
            ("readers", value, "a whole number from 0 to 16")
            for value in (-1, 17, 1.0, "1", None, False)
        ),
        *(
            (key, value, "a whole number from 0 to 100000")
            for key in ("max_waiting", "max_waiting_per_client")
            for value in (-1, 100001, 1.5, "5", None, True)
        ),
        *(
            ("timezone", value, "a name such as Europe/Berlin")
            for value in ("", "Berlin/Europe", "Europe", "../x", "/etc/passwd", "\0", None, 1)
        ),
    ],
)
def test_a_mistake_is_reported_with_key_value_and_what_would_be_right(
    key: str, value: Any, expected: str
) -> None:
    assert mistakes(SelfServe, **{key: value}) == [f"SelfServe: {key}={value!r} must be {expected}"]


def test_a_timeout_that_is_no_number_at_all_is_reported() -> None:
    (mistake,) = mistakes(SelfServe, timeout=float("nan"))
    assert mistake == f"SelfServe: timeout=nan must be {ONE_TO_600}"


@pytest.mark.parametrize(
    "db_url",
    [
        "",
        "hunter2",
        5,
        b"sqlite://",
        "postgresql://me:hunter2@db:port/x",
        # what a master would start with, and never open
        "nosuch://me:hunter2@db/x",
        "postgresql+nosuch://me:hunter2@db/x",
        "sqlite://",
        # what would become files of these names in the master's folder
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:journal.sqlite?uri=true",
    ],
)
def test_a_bad_db_url_is_reported_without_its_text(db_url: Any) -> None:
    (mistake,) = mistakes(SelfServe, db_url=db_url)
    assert mistake == (
        "SelfServe: db_url='...' must be the URL of a database whose driver is installed,"
        " a renderable or None"
    )


def test_tokens_are_refused_without_showing_their_secrets() -> None:
    (mistake,) = mistakes(SelfServe, tokens=["hunter2"])
    assert "tokens" in mistake
    assert "hunter2" not in mistake


FILES = sorted(one.name for one in (resources.files("buildbot_www") / "static").iterdir())


@pytest.mark.parametrize(
    "name",
    ["api", "auth", "avatar", "change_hook", "config", "plugins", "sse", "ws", *FILES],
)
def test_a_name_that_is_buildbots_own_is_refused(name: str) -> None:
    (mistake,) = mistakes(SelfServe, path=name)
    assert mistake == (f"SelfServe: path={name!r} must be another name: this one is Buildbot's own")


def test_two_branches_of_one_name_are_reported() -> None:
    branches = [SelfServeBranch("main"), SelfServeBranch("beta"), SelfServeBranch("main")]
    assert mistakes(SelfServe, branches=branches) == [
        "SelfServe: branches=['main'] must be branches of different names"
    ]


def test_an_argument_that_does_not_exist_is_reported_with_those_that_do() -> None:
    (mistake,) = mistakes(SelfServe, pth="self-serve")
    assert mistake == (
        "SelfServe: there is no argument 'pth'; it takes path, branches, require_login, tokens,"
        " max_count, backfill_priority, limits, timeout, db_url, keep_jobs, readers,"
        " gc_freeze, max_bisections, timezone, max_waiting, max_waiting_per_client"
    )


def test_an_argument_without_its_keyword_is_reported() -> None:
    (mistake,) = mistakes(SelfServe, "ci")
    assert mistake.startswith("SelfServe: 'ci' needs a keyword; it takes path, branches, ")


def test_all_mistakes_are_reported_at_once() -> None:
    reported = mistakes(SelfServe, path="", max_count=0, timezone="Mars", readers=99, more=1)
    assert len(reported) == 5
    assert all(
        any(key in one for one in reported)
        for key in ("path=", "max_count=", "timezone=", "readers=", "'more'")
    )


def test_a_mistake_outside_of_master_cfg_raises() -> None:
    with pytest.raises(ConfigErrors, match="max_count=0"):
        SelfServe(max_count=0)


# -- SelfServeBranch


def test_a_branch_is_all_sourcestamps_of_its_name() -> None:
    branch = SelfServeBranch("main")
    assert branch.branch == Branch("main", ("main",))
    assert (branch.branch.builders, branch.branch.sets) == (None, ())


def link(revision: str) -> str:
    return f"https://example.org/{revision}"


def test_a_link_may_be_a_function_that_only_master_cfg_has() -> None:
    base = "https://x/"
    for revlink in (link, lambda revision: base + revision):
        branch = SelfServeBranch("main", revlink=revlink).branch
        # as it comes out at the other end of a pipe
        assert pickle.loads(pickle.dumps(branch)).link("abc") == revlink("abc")


def test_a_revision_is_encoded_in_a_template_of_its_link() -> None:
    branch = SelfServeBranch("main", revlink="https://x/{revision}?rev={revision}").branch
    assert branch.link("v1/é#+") == "https://x/v1/%C3%A9%23%2B?rev=v1/%C3%A9%23%2B"


def test_a_link_that_cannot_go_to_a_reader_is_reported() -> None:
    lock = threading.Lock()
    (mistake,) = mistakes(SelfServeBranch, "main", revlink=lambda revision: str(lock))
    assert mistake.startswith("SelfServeBranch('main'): revlink=")
    assert "a callable that can be pickled" in mistake


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"branch": "refs/heads/main"}, {"branches": ("refs/heads/main",)}),
        ({"branch": None}, {"branches": (None, "")}),
        ({"branch": ""}, {"branches": ("", None)}),
        ({"branch": ["main", None]}, {"branches": ("main", None, "")}),
        ({"codebase": "server"}, {"codebases": ("server",)}),
        ({"codebase": ""}, {"codebases": ("",)}),
        ({"codebase": ["a", "b"]}, {"codebases": ("a", "b")}),
        ({"project": "p"}, {"projects": ("p",)}),
        ({"project": ("p", "")}, {"projects": ("p", "")}),
        ({"repository": "https://example.org/r"}, {"repositories": ("https://example.org/r",)}),
        ({"repository": ["https://x/a", "y"]}, {"repositories": ("https://x/a", "y")}),
        ({"repo": "https://example.org/r"}, {"repo": "https://example.org/r"}),
        ({"repo_type": "hg"}, {"repo_type": "hg"}),
        ({"revlink": "https://x/{revision}"}, {"revlink": "https://x/{revision}"}),
        ({"revlink": "{revision:.12}"}, {"revlink": "{revision:.12}"}),
    ],
)
def test_what_belongs_to_a_branch_is_kept(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert mistakes(SelfServeBranch, "main", **given) == []
    branch = SelfServeBranch("main", **given).branch
    assert {key: getattr(branch, key) for key in kept} == kept


@pytest.mark.parametrize("name", ["main", "feature/x", "ä b", "n" * 256])
def test_a_good_name_of_a_branch_is_kept(name: str) -> None:
    assert mistakes(SelfServeBranch, name) == []


@pytest.mark.parametrize("builders", [None, [], ("fast",), ["fast", re.compile("^f"), "tag:slow"]])
def test_good_builders_are_kept(builders: Any) -> None:
    assert mistakes(SelfServeBranch, "main", builders=builders) == []
    kept = SelfServeBranch("main", builders=builders).branch.builders
    assert kept == (None if builders is None else tuple(builders))


@pytest.mark.parametrize(
    "sets",
    [
        None,
        {},
        {"nightly": ["fast", re.compile("^f"), "tag:slow", "scheduler:nightly"], "a_b-1": []},
    ],
)
def test_good_sets_are_kept(sets: Any) -> None:
    assert mistakes(SelfServeBranch, "main", sets=sets) == []
    kept = SelfServeBranch("main", sets=sets).branch.sets
    assert dict(kept) == {name: tuple(entries) for name, entries in (sets or {}).items()}


BRANCH = "a text, None, or a list of those"
TEXTS = "a text, a list of texts, or None"
BUILDERS = "a list of builder names, re.compile(...) or tag:NAME"
SETS = "a dict of names (small letters, digits, - and _) and lists of builders"
NO_BUILDERS: list[str] = []
REVLINK = "a text with {revision}, or a callable"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        *(("branch", value, BRANCH) for value in (5, [], ["main", 5], {"main"})),
        *(("codebase", value, TEXTS) for value in (5, [], [None], "a\x00")),
        *(("project", value, TEXTS) for value in (5, b"p", ["a", 5], {"p"})),
        *(("repository", value, TEXTS) for value in (5, "a\n", ["a", "b\n"])),
        *(("repo", value, "a text") for value in (None, 5)),
        *(("repo_type", value, "a text") for value in (None, 5)),
        *(("builders", value, BUILDERS) for value in ("fast", 5, [5], [""], ["tag:"], [None])),
        ("builders", [re.compile(b"fast")], BUILDERS),
        *(
            ("sets", value, SETS)
            for value in (["nightly"], "nightly", {"Nightly": NO_BUILDERS}, {"": NO_BUILDERS})
        ),
        *(
            ("revlink", value, REVLINK)
            for value in (
                "",
                "https://x/",
                "https://x/{revision}/{branch}",
                "https://x/{}",
                "https://x/{revision",
                "https://x/{{revision}}",
                "https://x/{revision[a]}",
                "https://x/{revision.a}",
                "https://x/{revision:d}",
                5,
            )
        ),
    ],
)
def test_a_mistake_in_a_branch_is_reported(key: str, value: Any, expected: str) -> None:
    assert mistakes(SelfServeBranch, "main", **{key: value}) == [
        f"SelfServeBranch('main'): {key}={value!r} must be {expected}"
    ]


@pytest.mark.parametrize("name", ["builds", "failed", "health", "is_done", "missing"])
def test_a_set_that_is_called_like_a_path_of_self_serves_is_reported(name: str) -> None:
    assert mistakes(SelfServeBranch, "main", sets={name: ["fast"], f"{name}-2": ["fast"]}) == [
        f"SelfServeBranch('main'): sets={name!r} must be another name:"
        " builds, failed, health, is_done, missing are self-serve's own paths"
    ]


@pytest.mark.parametrize("name", ["*", "release/*", "v[0-9]", "pull/?"])
def test_a_pattern_of_branches_is_kept_and_has_no_branch_of_its_own(name: str) -> None:
    assert mistakes(SelfServeBranch, name, repository=["a", "b"], sets={"pgo": ["x"]}) == []
    for branch in ("main", None, ["main"]):
        assert mistakes(SelfServeBranch, name, branch=branch) == [
            f"SelfServeBranch({name!r}): branch={branch!r} must be left out:"
            " the name is a pattern, which stands for branches of their own names"
        ]


@pytest.mark.parametrize("entries", ["fast", 5, [5], [""], ["tag:"], ["scheduler:"]])
def test_a_mistake_in_a_set_is_reported_with_the_name_of_the_set(entries: Any) -> None:
    assert mistakes(SelfServeBranch, "main", sets={"pgo": entries, "nightly": ["fast"]}) == [
        f"SelfServeBranch('main'): sets['pgo']={entries!r} must be {BUILDERS} or scheduler:NAME"
    ]


@pytest.mark.parametrize("name", ["", "n" * 257, "a\x00", "\ud800"])
def test_a_bad_name_of_a_branch_is_reported(name: str) -> None:
    assert mistakes(SelfServeBranch, name) == [
        f"SelfServeBranch({name!r}): name={name!r} must be a text of 1 to 256 characters"
    ]


@pytest.mark.parametrize("name", [None, 5, ["main"]])
def test_a_name_of_a_branch_that_is_no_text_is_reported(name: Any) -> None:
    reported = mistakes(SelfServeBranch, name)
    assert reported[0] == (
        f"SelfServeBranch({name!r}): name={name!r} must be a text of 1 to 256 characters"
    )


def test_an_argument_that_branches_do_not_have_is_reported() -> None:
    (mistake,) = mistakes(SelfServeBranch, "main", bulders=["fast"])
    assert mistake.startswith(
        "SelfServeBranch('main'): there is no argument 'bulders'; it takes name, branch, "
    )


# -- c['www']['plugins']['selfserve']


@pytest.mark.parametrize("value", [True, None, {}])
def test_true_and_nothing_mean_the_defaults(value: Any) -> None:
    config = configured(value)
    assert (config.path, config.branches, config.require_login) == ("self-serve", None, True)


def test_a_configuration_stands_for_itself() -> None:
    config = SelfServe(path="ci")
    assert configured(config) is config


@pytest.mark.parametrize(
    "value", [{"path": "ci"}, {"db_url": "hunter2"}, False, 1, "ci", [], ["ci"]]
)
def test_another_value_is_refused_and_the_message_names_what_is_right(value: Any) -> None:
    with pytest.raises(
        ConfigErrors, match=r"must be util\.SelfServe\(\.\.\.\), True or {}"
    ) as error:
        configured(value)
    assert "hunter2" not in str(error.value)


def test_another_value_is_refused_also_while_mistakes_are_collected() -> None:
    with capture_config_errors() as errors:
        configured({"path": "ci"})
    assert len(errors.errors) == 1


def test_visitors_see_the_path_and_nothing_else() -> None:
    config = SelfServe(
        path="ci",
        db_url="postgresql+psycopg2://me:hunter2@db/x",
        branches=[SelfServeBranch("secret")],
    )
    assert config.getConfigDict() == {"path": "ci"}
    published = serialize_www_frontend_config_dict_to_json({"plugins": {"selfserve": config}})
    assert json.loads(published) == {"plugins": {"selfserve": {"path": "ci"}}}


@pytest.mark.parametrize("show", [repr, str])
def test_a_configuration_does_not_show_its_database(show: Callable[[object], str]) -> None:
    shown = show(SelfServe(path="ci", db_url="postgresql+psycopg2://me:hunter2@db/x"))
    assert shown == "SelfServe(path='ci')"


def test_buildbot_finds_the_classes_by_their_entry_points() -> None:
    assert util.SelfServe is SelfServe
    assert util.SelfServeBranch is SelfServeBranch


# -- the real thing


def checkconfig(directory: Path, master_cfg: str) -> subprocess.CompletedProcess[str]:
    """Run ``buildbot checkconfig`` as an operator does."""
    directory.joinpath("master.cfg").write_text(master_cfg, encoding="utf-8")
    return subprocess.run(
        [Path(sys.executable).with_name("buildbot"), "checkconfig", "master.cfg"],
        cwd=directory,
        env={**os.environ, "SELFSERVE_REPOSITORY": "https://example.org/repo.git"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_checkconfig_names_every_mistake(tmp_path: Path) -> None:
    selfserve = "util.SelfServe(max_count=0, branches=[util.SelfServeBranch('main', repo=7)])"
    done = checkconfig(tmp_path, MASTER_CFG.format(selfserve=selfserve))
    assert done.returncode != 0
    assert "SelfServe: max_count=0 must be a whole number from 1 to 10000" in done.stdout
    assert "SelfServeBranch('main'): repo=7 must be a text" in done.stdout


def test_checkconfig_likes_the_same_without_the_mistakes(tmp_path: Path) -> None:
    done = checkconfig(tmp_path, MASTER_CFG.format(selfserve="util.SelfServe(max_count=1)"))
    assert (done.returncode, done.stdout) == (0, "Config file is good!\n")


def test_checkconfig_likes_the_example(tmp_path: Path) -> None:
    done = checkconfig(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    assert (done.returncode, done.stdout) == (0, "Config file is good!\n")


@pytest.mark.parametrize("rule", [True, False])
def test_true_and_false_mean_to_collapse_spare_what_they_mean_to_buildbot(rule: bool) -> None:
    assert collapse_spare(rule) is rule


@pytest.mark.parametrize("rule", [3, None, "x", []])
def test_collapse_spare_reports_what_cannot_be_called(rule: Any) -> None:
    assert mistakes(collapse_spare, rule) == [
        f"collapse_spare: {rule!r} must be True, False or a callable"
        " (master, builder, request, other)"
    ]


def test_checkconfig_refuses_a_collapse_rule_that_cannot_be_called(tmp_path: Path) -> None:
    for rule, fine in (("True", True), ("False", True), ("3", False)):
        more = f"\nBuildmasterConfig['collapseRequests'] = util.collapse_spare({rule})\n"
        done = checkconfig(tmp_path, MASTER_CFG.format(selfserve="util.SelfServe()") + more)
        assert (done.returncode == 0) == fine, done.stdout
        assert ("collapse_spare: 3 must be" in done.stdout) == (not fine)


USES_US = """
from buildbot.plugins import util
util.SelfServeBranch("main")
BuildmasterConfig = {{
    "workers": [], "builders": [], "www": {{"port": 0, "plugins": {plugins}}},
    "multiMaster": True, "mq": {{"type": "simple"}},
}}
"""


@pytest.mark.parametrize(
    "plugins",
    ["{'selfserve': dict(foo='hunter2')}", "{'selfserve': util.SelfServe}", "['selfserve']"],
)
def test_checkconfig_refuses_another_value(tmp_path: Path, plugins: str) -> None:
    done = checkconfig(tmp_path, USES_US.format(plugins=plugins))
    assert done.returncode != 0
    assert "Configuration Errors:" in done.stdout
    assert "c['www']['plugins']" in done.stdout
    assert "hunter2" not in done.stdout
    assert "Traceback" not in done.stdout


OTHERS = [
    {"foo": 1},
    False,
    0,
    1,
    "x",
    [],
    ["x"],
    SelfServe,
    [SelfServe()],
    (),
    lambda: SelfServe(),
]


def with_value(value: object) -> dict[str, Any]:
    return {"multiMaster": True, "www": {"plugins": {"selfserve": value}}}


@pytest.mark.parametrize("value", OTHERS)
def test_another_value_is_a_mistake_of_the_configuration(value: Any) -> None:
    with pytest.raises(ConfigErrors) as error:
        MasterConfig.loadFromDict(with_value(value), "master.cfg")
    mistakes = [one for one in error.value.errors if "selfserve" in one]
    assert len(mistakes) == 1
    assert "must be util.SelfServe(...), True or {}" in mistakes[0]
    others: tuple[Any, ...] = ({}, True, None, SelfServe())
    for fine in others:
        MasterConfig.loadFromDict(with_value(fine), "master.cfg")


@pytest_twisted.ensureDeferred
async def test_a_reconfig_with_another_value_changes_nothing(master: Any) -> None:
    await master.finished_build()
    for value in OTHERS[:3]:
        await master.reconfig(lambda value=value: harness.config(value))
        assert (await master.get("/self-serve/main")).status == 200
    assert master.log.count("configuration update aborted without making any changes") == 3
    assert "partially applied" not in master.log
    assert master.errors == []


def test_a_master_does_not_start_with_another_value_and_says_so(tmp_path: Path) -> None:
    master = ProcessMaster(tmp_path, selfserve="dict(foo='hunter2')")
    done = subprocess.run(
        [BUILDBOT, "start", "--nodaemon", tmp_path],
        env=reaper.environment(PYTHONPATH=str(process_master.ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    log = done.stdout + done.stderr + master.log
    assert "Halting master." in log
    assert "must be util.SelfServe(...), True or {}" in log
    assert "Traceback" not in log
    assert "hunter2" not in log


# -- names that stand for nothing


@pytest_twisted.ensureDeferred
async def test_names_that_stand_for_nothing_are_logged_at_each_reconfig(master: Any) -> None:
    def make() -> Any:
        entries = ["fast", "tag:quick", "scheduler:any", re.compile("^op")]
        wrong = ["fsat", "tag:slow", "scheduler:nightly", re.compile("^re-")]
        branches = [
            SelfServeBranch("main", builders=["fast"], sets={"pgo": entries + wrong}),
            SelfServeBranch("beta", builders=["fast", "tsaf"], sets={"pgo": ["fsat"]}),
        ]
        made = harness.config(SelfServe(branches=branches))
        made["builders"][0].tags = ["quick"]
        return made

    def warned() -> list[str]:
        found = re.findall(r"selfserve: (SelfServeBranch.*)", master.log)
        return [str(one) for one in found]

    expected = [
        "SelfServeBranch('main'): there is no builder 'fsat'",
        "SelfServeBranch('main'): no builder has the tag 'slow'",
        "SelfServeBranch('main'): there is no scheduler 'nightly'",
        "SelfServeBranch('main'): no builder's name fits '^re-'",
        "SelfServeBranch('beta'): there is no builder 'tsaf'",
    ]
    assert warned() == []
    await master.reconfig(make)
    assert warned() == expected
    await master.reconfig(make)
    assert warned() == expected * 2
    # another master may have them
    await master.reconfig(lambda: {**make(), "multiMaster": True})
    assert warned() == expected * 2
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_names_that_stand_for_nothing_are_logged_at_the_start(
    tmp_path: Path, monkeypatch: Any
) -> None:
    branches = [SelfServeBranch("main", builders=["fsat", "fast"], sets={"pgo": ["scheduler:any"]})]

    def make() -> Any:
        return harness.config(SelfServe(branches=branches))

    async with harness.running_master(tmp_path, monkeypatch, make) as master:
        assert master.log.count("selfserve: SelfServeBranch") == 1
        assert "there is no builder 'fsat'" in master.log


# -- SelfServeLimits


def test_without_limits_there_are_none() -> None:
    assert SelfServe().limits == NO_LIMITS == SelfServeLimits().limits
    limits = SelfServeLimits(builds_per_hour=100, job_requests_per_minute=10)
    assert SelfServe(limits=limits).limits == Limits(100, 10)


@pytest.mark.parametrize("key", ["builds_per_hour", "job_requests_per_minute"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, 1_000_001])
def test_a_limit_that_is_none_is_reported(key: str, value: object) -> None:
    assert mistakes(SelfServeLimits, **{key: value}) == [
        f"SelfServeLimits: {key}={value!r} must be a whole number from 1 to 1000000"
    ]


@pytest.mark.parametrize("value", [{"builds_per_hour": 5}, 5, [SelfServeLimits()]])
def test_limits_that_are_no_limits_are_reported(value: object) -> None:
    (mistake,) = mistakes(SelfServe, limits=value)
    assert mistake.endswith("must be util.SelfServeLimits(...) or None")


def test_other_arguments_of_limits_are_reported() -> None:
    assert mistakes(SelfServeLimits, 5, per_day=1) == [
        "SelfServeLimits: 5 needs a keyword; it takes builds_per_hour, job_requests_per_minute",
        "SelfServeLimits: there is no argument 'per_day'; it takes builds_per_hour,"
        " job_requests_per_minute",
    ]
