"""The health of a revision: states, what they are compared with, and what counts."""

from __future__ import annotations

import pytest

from buildbot_selfserve.history import revisions
from buildbot_selfserve.model import Branch
from tests.push_history import sha
from tests.pushed import MAIN
from tests.pushed import Pushed

EVERY_DATABASE = "heavy"
NOTHING = (None, None, None)


def test_how_a_result_compares_with_the_one_before(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="F", win="F", arm="P")
    history.push("b", linux="F", mac="F", win="P", arm="P", new="F")
    assert pushed.told("b", "linux") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("b", "mac") == ("failed", "still_failing", "failed", "a", 1)
    assert pushed.told("b", "win") == ("passed", "fixed", "failed", "a", 1)
    assert pushed.told("b", "arm") == ("passed", "passing", "passed", "a", 1)
    assert pushed.told("b", "new") == ("failed", "new", *NOTHING)
    found = pushed.health("b")
    assert found.base == sha("a")
    assert found.verdict == "failed"
    assert found.counts == {"failed": 3, "passed": 2}
    # what needs eyes first: broken here, new, broken before, repaired, good
    order = [one.at.buildername for one in found.builders]
    assert order == ["linux", "new", "mac", "win", "arm"]


def test_warnings_pass_and_exceptions_fail(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="W", mac="X", win="P")
    history.push("b", linux="X", mac="W", win="W")
    assert pushed.told("b", "linux") == ("exception", "regressed", "warnings", "a", 1)
    assert pushed.told("b", "mac") == ("warnings", "fixed", "exception", "a", 1)
    assert pushed.told("b", "win") == ("warnings", "passing", "passed", "a", 1)
    assert pushed.health("b").verdict == "failed"
    history.push("c", win="W")
    assert pushed.health("c").verdict == "passed"


@pytest.mark.parametrize(
    ("letters", "state", "change", "attempts", "verdict"),
    [
        ("p", "pending", "unknown", 0, "pending"),
        ("k", "running", "unknown", 0, "running"),
        ("r", "running", "unknown", 1, "running"),
        ("c", "cancelled", "unknown", 0, "incomplete"),
        ("s", "skipped", "unknown", 0, "incomplete"),
        ("C", "cancelled", "unknown", 1, "incomplete"),
        ("S", "skipped", "unknown", 1, "incomplete"),
        ("CS", "skipped", "unknown", 2, "incomplete"),
        # what has no result takes none away
        ("Fc", "failed", "regressed", 1, "failed"),
        ("FC", "failed", "regressed", 2, "failed"),
        ("FS", "failed", "regressed", 2, "failed"),
        ("Ps", "passed", "passing", 1, "passed"),
        # a rerun that passes makes it green, and flaky
        ("FP", "passed", "flaky", 2, "passed"),
        ("FW", "warnings", "flaky", 2, "passed"),
        ("PF", "failed", "flaky", 2, "failed"),
        ("FPF", "failed", "flaky", 3, "failed"),
        ("FF", "failed", "regressed", 2, "failed"),
        # what Buildbot tries again does not count
        ("RP", "passed", "passing", 1, "passed"),
        ("RF", "failed", "regressed", 1, "failed"),
        ("Rp", "pending", "unknown", 0, "pending"),
        ("Rk", "running", "unknown", 0, "running"),
        ("Rr", "running", "unknown", 1, "running"),
        ("Rc", "cancelled", "unknown", 0, "incomplete"),
        # a result counts while something is under way, but the verdict waits
        ("Fr", "running", "regressed", 2, "running"),
        ("Pr", "running", "passing", 2, "running"),
        ("Fp", "pending", "regressed", 1, "pending"),
        ("FPp", "pending", "flaky", 2, "pending"),
        ("rp", "running", "unknown", 1, "running"),
    ],
)
def test_the_latest_result_counts(
    pushed: Pushed, letters: str, state: str, change: str, attempts: int, verdict: str
) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux=letters)
    found = pushed.health("b")
    (one,) = found.builders
    assert (one.at.state, one.change, one.at.attempts) == (state, change, attempts)
    assert found.verdict == verdict
    has_base = change not in ("unknown", "new")
    assert (one.base_revision, one.distance) == ((sha("a"), 1) if has_base else (None, None))
    # the verdict of is_done is the same, by other ways
    revision = pushed.revision("b")
    with pushed.asked() as asked:
        done = revisions.done(asked, revision, 0)
    assert done is not None
    assert done.verdict == verdict
    assert bool(done.flaky) == (change == "flaky")
    assert bool(done.failing) == (one.at.result in ("failed", "exception"))


def test_the_latest_result_of_the_base_counts(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="FP", mac="PF", win="Pr", arm="PC")
    history.push("b", linux="F", mac="F", win="F", arm="F")
    assert pushed.told("b", "linux") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("b", "mac") == ("failed", "still_failing", "failed", "a", 1)
    assert pushed.told("b", "win") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("b", "arm") == ("failed", "regressed", "passed", "a", 1)


def test_each_builder_has_a_base_of_its_own(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="F")
    history.push("b", mac="P")
    history.push("c", linux="p", mac="c")
    history.push("d", linux="F", mac="F")
    assert pushed.told("d", "linux") == ("failed", "regressed", "passed", "a", 3)
    assert pushed.told("d", "mac") == ("failed", "regressed", "passed", "b", 2)
    assert pushed.health("d").base == sha("c")


def test_what_is_newer_is_no_base(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a")
    history.push("b", linux="P")
    history.push("c", linux="P")
    # built now, but pushed before the others
    history.build("a", linux="F")
    assert pushed.told("a") == ("failed", "new", *NOTHING)
    assert pushed.health("a").base is None
    history.push("d", linux="F")
    assert pushed.told("d") == ("failed", "regressed", "passed", "c", 1)


@pytest.mark.parametrize("by_commits", [False, True])
def test_a_base_is_at_most_fifty_revisions_back(pushed: Pushed, by_commits: bool) -> None:
    history = pushed.history
    history.push("a", linux="P", **({"parent": "root"} if by_commits else {}))
    last = "a"
    for number in range(49):
        name = f"between {number}"
        history.push(name, mac="P", **({"parent": last} if by_commits else {}))
        last = name
    history.push("b", linux="F", **({"parent": last} if by_commits else {}))
    history.push("c", mac="F", **({"parent": "b"} if by_commits else {}))
    history.push("d", arm="F", **({"parent": "c"} if by_commits else {}))
    history.push("e", linux="F", **({"parent": "d"} if by_commits else {}))
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 50)
    history.build("c", linux="F")
    assert pushed.told("c") == ("failed", "still_failing", "failed", "b", 1)
    # 51 back
    history.push("f", **({"parent": last} if by_commits else {}))
    history.push("g", win="P", **({"parent": "f"} if by_commits else {}))
    history.build("a", rare="P")
    history.build("b", rare="F")
    assert pushed.told("b", "rare") == ("failed", "regressed", "passed", "a", 50)
    history.build("c", rare2="F")
    history.build("a", rare2="P")
    assert pushed.told("c", "rare2") == ("failed", "new", *NOTHING)


def test_a_base_of_ones_own_choice(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    history.push("b", linux="F", mac="P")
    history.push("c", linux="F", mac="F", win="F", arm="p")
    assert pushed.told("c", "linux", base="a") == ("failed", "regressed", "passed", "a", 2)
    assert pushed.told("c", "linux", base="b") == ("failed", "still_failing", "failed", "b", 1)
    assert pushed.told("c", "win", base="a") == ("failed", "unknown", *NOTHING)
    assert pushed.told("c", "arm", base="a") == ("pending", "unknown", *NOTHING)
    assert pushed.health("c", "a").base == sha("a")
    # one that is newer has no distance
    assert pushed.told("b", "mac", base="c") == ("passed", "fixed", "failed", "c", None)


def test_the_first_parent_is_before_a_merge(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", parent="root")
    # a topic branch begins at a, and is pushed to main's place by a merge
    history.push("m", linux="F", parent="a")
    history.push("b", linux="P", parent="a")
    history.push("c", linux="F", parent="b")
    history.commit("d", "c")
    history.change("d")
    history.build("d", linux="F")
    assert pushed.told("c") == ("failed", "regressed", "passed", "b", 1)
    # by the order of changes it would be m
    assert pushed.told("b") == ("passed", "passing", "passed", "a", 1)
    assert pushed.told("d") == ("failed", "still_failing", "failed", "c", 1)
    assert pushed.health("b").base == sha("a")


def test_changes_that_come_out_of_order(pushed: Pushed) -> None:
    history = pushed.history
    # with commits: c is told of before b, its parent
    history.commit("a", None)
    history.commit("b", "a")
    history.commit("c", "b")
    history.push("a", linux="P")
    history.push("c", linux="F")
    history.push("b", linux="F")
    assert pushed.told("c") == ("failed", "still_failing", "failed", "b", 1)
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    # without, the order in which they came is all that there is
    history.push("g", linux="P", branch="other")
    history.push("i", linux="F", branch="other")
    history.push("h", linux="P", branch="other")
    other = Branch("other", ("other",))
    found = pushed.of(pushed.health("h", branch=other), "linux")
    assert (found.change, found.base_revision) == ("fixed", sha("i"))


def test_commits_that_buildbot_knows_only_lately(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", rare="P")
    history.push("b", linux="F")
    history.push("c", linux="P", parent="b")
    history.push("d", linux="F", rare="F", parent="c")
    assert pushed.told("d", "rare") == ("failed", "regressed", "passed", "a", 3)
    assert pushed.told("d") == ("failed", "regressed", "passed", "c", 1)


def test_a_branch_begins_at_another(pushed: Pushed) -> None:
    history = pushed.history
    topic = Branch("topic", ("topic",))
    history.push("a", linux="P", parent="root")
    history.push("b", linux="F", branch="topic", parent="a")
    history.push("c", linux="F", branch="topic", parent="b")
    # a is no revision of the topic
    found = pushed.of(pushed.health("b", branch=topic), "linux")
    assert (found.change, found.base_revision) == ("new", None)
    # the topic is rebased: what was pushed there before is before it no more
    history.push("d", linux="F", parent="a")
    history.push("e", linux="P", branch="topic", parent="d")
    found = pushed.of(pushed.health("e", branch=topic), "linux")
    assert (found.change, found.base_revision) == ("new", None)


def test_branches_that_share_commits(pushed: Pushed) -> None:
    history = pushed.history
    topic, both = Branch("topic", ("topic",)), Branch("both", ("main", "topic"))
    history.push("a", linux="P")
    history.push("a", branch="topic", linux="F")
    history.push("b", linux="F")
    history.push("b", branch="topic", linux="F")
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    found = pushed.of(pushed.health("b", branch=topic), "linux")
    assert (found.change, found.base_state) == ("still_failing", "failed")
    # where both are one branch, a has passed and failed
    assert pushed.of(pushed.health("a", branch=both), "linux").change == "flaky"
    assert pushed.line(both) == "b a"


def test_two_codebases_on_one_branch(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", codebase="app", linux="P")
    history.push("k", codebase="lib", linux="F")
    history.push("b", codebase="app", linux="F")
    history.push("m", codebase="lib", linux="F")
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("m") == ("failed", "still_failing", "failed", "k", 1)
    assert pushed.line() == "m b k a"
    assert pushed.line(Branch("main", ("main",), codebases=("app",))) == "b a"
    # a buildset of both is of both
    history.build("b", "lib:m", mac="F")
    assert pushed.told("b", "mac")[0] == "failed"
    assert pushed.told("m", "mac")[0] == "failed"


def test_a_revert_is_a_push_like_any(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="F")
    history.push("c", comments='Revert "Change b"', linux="P")
    assert pushed.told("c") == ("passed", "fixed", "failed", "b", 1)


def test_what_was_only_built_by_hand(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.build("b", linux="F")
    history.now += 60
    history.build(None, linux="F", got="c")
    history.push("d", linux="F")
    # these are no pushes, after which others come
    assert pushed.told("d") == ("failed", "regressed", "passed", "a", 1)
    # but they come after what was pushed before somebody asked for them
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("c") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.line() == "d c b a"


def test_a_branch_without_changes(pushed: Pushed) -> None:
    history = pushed.history
    for name, letters in (("a", "P"), ("b", "F"), ("c", "F")):
        history.now += 60
        history.build(None, linux=letters, got=name)
    assert pushed.line() == "c b a"
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("c") == ("failed", "still_failing", "failed", "b", 1)


def test_patched_builds_count_for_nothing(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="P")
    history.build("b", patch=True, linux="F", mac="F")
    history.build(None, patch=True, linux="F", got="b")
    history.build("c", patch=True, linux="F")
    history.build(None, patch=True, linux="F", got="d")
    found = pushed.health("b")
    assert found.verdict == "passed"
    assert [one.at.buildername for one in found.builders] == ["linux"]
    assert found.builders[0].at.attempts == 1
    assert pushed.line() == "b a"


def test_what_lends_its_workers_to_a_virtual_builder_is_not_missing(pushed: Pushed) -> None:
    history = pushed.history
    reacting = tuple((name, history.builder(name)) for name in ("lender", "other"))
    history.push("a", linux="P")
    history.build("a", lender="P", virtual="deploy")
    history.push("b", linux="P")
    history.build("b", lender="c", virtual="deploy")
    history.push("c", linux="P")
    for name, missing in (("a", ["other"]), ("b", ["other"]), ("c", ["lender", "other"])):
        found = pushed.health(name, reacting=reacting).builders
        unasked = [one.at.buildername for one in found if one.at.state == "missing"]
        assert sorted(unasked) == missing


def test_virtual_builders_have_their_own_names(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", lender="P")
    history.build("a", lender="P", virtual="deploy")
    history.push("b", lender="P")
    history.build("b", lender="F", virtual="deploy")
    history.build("b", lender="p", virtual="docs")
    assert pushed.told("b", "deploy") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("b", "lender") == ("passed", "passing", "passed", "a", 1)
    assert pushed.told("b", "docs") == ("pending", "unknown", *NOTHING)


def test_abbreviated_revisions(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    # built before Buildbot sees the push
    history.build(f"={sha('b')[:8]}", linux="F")
    assert pushed.line() == f"{sha('b')[:8]} a"
    history.push("b", mac="P")
    assert pushed.line() == "b a"
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    # a build says of which hash its digits are
    history.build(f"={sha('b')[:7].upper()}", win="F", got="b")
    assert pushed.told("b", "win") == ("failed", "new", *NOTHING)
    assert pushed.health("b").verdict == "failed"


def test_builds_of_one_request_that_found_different_revisions(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="P")
    history.build(None, linux="F", mac="F", got="b")
    assert pushed.told("b") == ("failed", "flaky", "passed", "a", 1)
    assert pushed.told("b", "mac") == ("failed", "new", *NOTHING)


def test_what_schedulers_would_build_is_missing(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    history.push("b", linux="P")
    reacting = (("linux", history.builder("linux")), ("mac", history.builder("mac")))
    found = pushed.health("b", reacting=reacting)
    one = pushed.of(found, "mac")
    assert (one.at.state, one.change, one.at.attempts) == ("missing", "unknown", 0)
    assert (one.at.build_id, one.at.request_id) == (None, None)
    # and no part of the verdict
    assert found.verdict == "passed"
    assert found.counts == {"passed": 1, "missing": 1}


def test_a_revision_without_builds(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b")
    found = pushed.health("b")
    assert (found.verdict, found.builders, found.base) == ("pending", (), sha("a"))


def test_the_step_that_failed_is_told(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="F", mac="P", win="X", arm="Fr")
    found = pushed.health("a")
    steps = {one.at.buildername: one.failed_step for one in found.builders}
    # also while the builder builds again
    assert steps == {"linux": "test", "win": "test", "mac": None, "arm": "test"}


def test_the_state_is_about_the_build_that_it_names(pushed: Pushed) -> None:
    history = pushed.history
    (first,) = history.build("a", linux="F")
    history.change("a")
    second, third = history.build("a", linux="Pp")
    found = pushed.of(pushed.health("a"), "linux").at
    assert (found.state, found.request_id, found.build_id) == ("pending", third, None)
    assert first < second < third
    history.build("b", mac="FF")
    found = pushed.of(pushed.health("b"), "mac").at
    assert (found.number, found.build_id is not None) == (2, True)
    assert found.started is not None
    assert found.ended is not None


def test_main_is_not_every_branch(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", branch="side", linux="P")
    history.push("b", linux="F")
    assert pushed.told("b") == ("failed", "new", *NOTHING)
    assert pushed.line(MAIN) == "b"


def test_a_codebase_in_which_little_is_pushed(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", codebase="lib", linux="P")
    for number in range(70):
        history.push(f"app {number}", codebase="app", mac="P")
        history.build(f"by hand {number}", codebase="lib", linux="F")
    history.push("b", codebase="lib", linux="F")
    # 140 other revisions of the branch are between them
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)


def test_one_commit_in_two_codebases(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", codebase="app", linux="P")
    history.push("a", codebase="lib", mac="P")
    history.push("b", codebase="lib", mac="F", linux="F")
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    assert pushed.told("b", "mac") == ("failed", "regressed", "passed", "a", 1)
