"""Ranges: which revisions lie between a good and a bad one, and what a builder made of each."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from buildbot.db.model import Model

from buildbot_selfserve import statements
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.history.ranges import find_range
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Range
from buildbot_selfserve.model import RangeRevision
from buildbot_selfserve.model import WantedRange
from tests.push_history import sha
from tests.pushed import MAIN
from tests.pushed import Pushed

EVERY_DATABASE = "heavy"
ADA = "Ada <ada@example.org>"


def found(
    pushed: Pushed,
    builder: str = "linux",
    bad: str | None = None,
    good: str | None = None,
    most: int = 19,
    force: bool = False,
    branch: Branch = MAIN,
) -> Range:
    """Return a range of *branch*."""
    last, first = (None if one is None else pushed.revision(one, branch) for one in (bad, good))
    with pushed.asked() as history:
        return find_range(
            history, WantedRange(branch, Builder(0, builder), last, first), most, force
        )


def told(pushed: Pushed, range_: Range) -> str:
    """Return the names of the revisions of a range, its ends in brackets."""
    named = [str(pushed.name(one.text)) for one in range_.candidates]
    good = "?" if range_.good is None else pushed.name(range_.good.text)
    return " ".join([f"[{good}]", *named, f"[{pushed.name(range_.bad.text)}]"])


def at(pushed: Pushed, range_: Range, name: str) -> RangeRevision:
    """Return one of the revisions of a range."""
    every = [range_.bad, *range_.candidates, *([range_.good] if range_.good else [])]
    (one,) = (one for one in every if pushed.name(one.text) == name)
    return one


def test_from_the_newest_failure_back_to_what_passed(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", ADA, linux="P", mac="F")
    history.push("b", ADA, linux="F")
    history.push("c", ADA, linux="W")
    history.push("d", ADA, mac="P")
    history.push("e", ADA, comments="Break it\n\nSorry", linux="c")
    history.push("f", ADA, linux="X")
    history.push("g", ADA, linux="F")
    history.push("h", ADA, linux="P")
    range_ = found(pushed)
    assert told(pushed, range_) == "[c] d e f [g]"
    assert pickle.loads(pickle.dumps(range_)) == range_
    one = at(pushed, range_, "e")
    assert (one.author, one.subject) == (ADA, "Break it")
    assert one.revision.known
    (stamp,) = one.revision.sourcestamps
    assert (stamp.branch, stamp.codebase) == ("main", "")


def test_what_a_builder_has_made_of_a_revision(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="FPXCSRFcs", mac="P")
    history.build("b", linux="pkr")
    history.build(None, linux="W", got="b")
    history.push("c", linux="F")
    one = at(pushed, found(pushed), "b")
    assert one.counts == {
        "failed": 2,
        "passed": 1,
        "exception": 1,
        "cancelled": 2,
        "skipped": 2,
        "retry": 1,
        "warnings": 1,
    }
    assert (one.results, one.state, one.tested) == (5, "warnings", "warnings")
    assert len(one.open) == 3
    assert one.request_id == 2


@pytest.mark.parametrize("results", [None, -1, 7])
def test_a_build_without_a_result_that_is_known(pushed: Pushed, results: int | None) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="P")
    history.push("c", linux="F")
    history.flush()
    history.connection.execute(
        Model.builds.update().where(Model.builds.c.id == 2).values(results=results)
    )
    one = at(pushed, found(pushed), "b")
    assert (one.state, one.counts) == ("", {"cancelled": 1})


def test_another_property_does_not_tell_that_the_sources_were_fetched(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", got="a")
    history.push("b", linux="F")
    history.flush()
    values = {"buildid": 2, "name": "GOT_REVISION", "value": '"b"', "source": "Step"}
    history.connection.execute(Model.build_properties.insert(), values)
    assert found(pushed).bad.state == "exception"


def test_what_was_fetched_in_another_codebase_is_not_the_revision(pushed: Pushed) -> None:
    history = pushed.history
    both = ("app", "lib")
    for name, letter, got in (("a", "P", both), ("b", "F", ("lib",)), ("c", "F", both)):
        history.push(name, codebase="app", linux=letter)
        history.flush()
        values = {
            "buildid": "abc".index(name) + 1,
            "name": "got_revision",
            "value": json.dumps(dict.fromkeys(got, sha(name))),
            "source": "Git",
        }
        history.connection.execute(Model.build_properties.insert(), values)
    range_ = found(pushed)
    assert (at(pushed, range_, "b").state, range_.bad.state) == ("exception", "failed")


def test_an_exception_says_nothing_of_the_revision(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="PX")
    history.push("c", linux="X")
    one = at(pushed, found(pushed), "b")
    assert (one.state, one.tested, one.fails) == ("exception", "passed", True)
    assert (one.build_id or 0) > (one.tested_build_id or 0) > 0
    bad = found(pushed).bad
    assert (bad.state, bad.tested, bad.tested_build_id) == ("exception", "", None)


def test_a_range_that_is_named(pushed: Pushed) -> None:
    history = pushed.history
    for name in "abcdef":
        history.push(name, linux="F")
    assert told(pushed, found(pushed, bad="e", good="b")) == "[b] c d [e]"
    assert told(pushed, found(pushed, bad="e", good="d")) == "[d] [e]"
    assert told(pushed, found(pushed, bad="e", good="b", most=2)) == "[b] c d [e]"
    # of a builder that has never built there
    assert at(pushed, found(pushed, "new", "e", "b"), "c").counts == {}


@pytest.mark.parametrize(
    ("bad", "good", "most", "detail"),
    [
        ("e", "b", 1, "good must be at most 1 revisions before"),
        ("b", "e", 19, "good must be a revision before"),
        ("b", "b", 19, "good must be a revision before"),
    ],
)
def test_a_good_one_that_cannot_be(
    pushed: Pushed, bad: str, good: str, most: int, detail: str
) -> None:
    for name in "abcdef":
        pushed.history.push(name, linux="F")
    with pytest.raises(BadParameter) as raised:
        found(pushed, bad=bad, good=good, most=most)
    assert (raised.value.msg, raised.value.detail.startswith(detail)) == ("Bad good", True)


def test_no_good_one_within_reach(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    for name in "bcdef":
        history.push(name, linux="F")
    # four lie between the two
    assert told(pushed, found(pushed, most=4)) == "[a] b c d e [f]"
    with pytest.raises(Refused, match="No good revision within 3"):
        found(pushed, most=3)
    assert told(pushed, found(pushed, most=3, force=True)) == "[?] c d e [f]"
    assert told(pushed, found(pushed, most=4, force=True)) == "[a] b c d e [f]"
    # back to where the history begins
    assert told(pushed, found(pushed, "mac", bad="c", force=True)) == "[?] a b [c]"


def test_no_failure(pushed: Pushed) -> None:
    pushed.history.push("a", linux="P", mac="F")
    pushed.history.push("b", linux="FP", mac="p")
    with pytest.raises(Refused, match="No failed revision within 2"):
        found(pushed)
    assert told(pushed, found(pushed, "mac", force=True)) == "[?] [a]"


def test_a_long_way_back(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    for number in range(100):
        history.push(f"r{number}", linux="F" if number % 3 else "")
    history.push("b", linux="F")
    range_ = found(pushed, most=100)
    assert (told(pushed, range_)[:3], len(range_.candidates)) == ("[a]", 100)
    assert len(found(pushed, good="a", most=100).candidates) == 100
    history.push("c", linux="F")
    with pytest.raises(Refused, match="No good revision within 100"):
        found(pushed, most=100)
    with pytest.raises(BadParameter):
        found(pushed, good="a", most=100)


def test_other_codebases_and_branches_are_no_candidates(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", codebase="x", linux="P")
    history.push("b", codebase="y", linux="P")
    history.push("c", codebase="x", branch="side", linux="P")
    history.push("d", codebase="x", linux="p")
    history.push("e", codebase="y")
    history.push("f", codebase="x", linux="F")
    range_ = found(pushed)
    assert told(pushed, range_) == "[a] d [f]"
    assert [one.codebase for one in range_.candidates[0].revision.sourcestamps] == ["x"]
    side = Branch("side", ("side",))
    with pytest.raises(Refused, match="No failed revision"):
        found(pushed, branch=side)


def test_a_build_of_two_codebases_counts_at_both(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", codebase="x")
    history.push("b", codebase="y")
    history.build("a", "y:b", codebase="x", linux="P")
    history.push("c", codebase="x")
    history.push("d", codebase="y")
    history.build("c", "y:d", codebase="x", linux="F")
    assert told(pushed, found(pushed, bad="c")) == "[a] [c]"
    assert told(pushed, found(pushed, bad="d")) == "[b] [d]"


def test_merges_go_by_the_first_parent(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", parent="o", linux="P")
    history.push("b", parent="a")
    # of the branch that is merged, pushed here, too
    history.push("i", parent="a", linux="P")
    history.push("k", parent="i", linux="F")
    history.push("m", parent="b", linux="F")
    history.push("n", parent="m", linux="F")
    assert told(pushed, found(pushed)) == "[a] b m [n]"
    with pytest.raises(BadParameter, match="Bad good"):
        found(pushed, good="i")


def test_commits_that_came_out_of_order(pushed: Pushed) -> None:
    history = pushed.history
    for name, parent in ("ao", "ba", "cb", "dc"):
        history.commit(name, parent)
    history.push("a", linux="P")
    history.push("d", linux="F")
    history.push("c")
    history.push("b")
    # the newest push that fails is not the newest that there is
    assert told(pushed, found(pushed)) == "[a] b c [d]"


def test_a_commit_on_several_branches(pushed: Pushed) -> None:
    history = pushed.history
    for name in "abc":
        history.push(name, linux="P")
        history.push(name, branch="side")
    history.build("c", branch="side", linux="F")
    history.push("d", branch="side", linux="F")
    side = Branch("side", ("side",))
    # what was built on the other branch is its result
    range_ = found(pushed, branch=side, force=True)
    assert told(pushed, range_) == "[?] a b c [d]"
    assert [one.results for one in range_.candidates] == [0, 0, 1]


def test_what_was_built_by_hand_is_no_end_and_no_candidate(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="F")
    history.build("i", linux="F")
    history.push("c", linux="F")
    history.build("k", linux="F")
    assert told(pushed, found(pushed)) == "[a] b [c]"
    # but it may be named
    assert told(pushed, found(pushed, bad="k")) == "[a] b c [k]"


def test_builds_with_a_patch_do_not_count(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b")
    history.build("b", patch=True, linux="PF")
    history.push("c", linux="F")
    assert at(pushed, found(pushed), "b").counts == {}


def test_virtual_builders_by_their_own_names(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a")
    history.build("a", virtual="deploy", linux="P")
    history.push("b")
    history.build("b", virtual="deploy", linux="pc")
    history.push("c", linux="F")
    history.build("c", virtual="deploy", linux="F")
    range_ = found(pushed, "deploy")
    assert told(pushed, range_) == "[a] b [c]"
    assert (len(range_.candidates[0].open), range_.candidates[0].counts) == (1, {"cancelled": 1})
    assert range_.bad.counts == {"failed": 1}
    assert at(pushed, found(pushed, bad="c", force=True), "b").counts == {}


def test_a_request_whose_build_has_just_ended_is_not_open_any_more(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="F")
    history.push("c", linux="F")
    history.flush()
    requests = Model.buildrequests
    pushed.connection.execute(requests.update().where(requests.c.id == 2).values(complete=0))
    pushed.connection.commit()
    one = at(pushed, found(pushed), "b")
    assert (one.open, one.results) == ((), 1)


def test_abbreviations_are_the_revision_they_begin(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b")
    history.build(f"={sha('b')[:8]}", linux="F")
    history.push("c", linux="F")
    assert at(pushed, found(pushed), "b").counts == {"failed": 1}


def test_how_much_is_read_does_not_grow_with_the_history(
    pushed: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = pushed.history
    read: list[int] = []
    fetched = statements.fetched

    def noted(*arguments: Any) -> list[Any]:
        records = fetched(*arguments)
        read.append(len(records))
        return records

    monkeypatch.setattr(statements, "fetched", noted)

    def count() -> tuple[int, int]:
        with pushed.asked() as asked:
            asked.facts  # noqa: B018 - what is new is read once
            read.clear()
            find_range(asked, WantedRange(MAIN, Builder(0, "linux")), 19)
        return len(read), sum(read)

    history.push("a", linux="P")
    for name in "bcdef":
        history.push(name, linux="F")
    count()  # names of builders are read once
    few = count()
    assert few[1] > 0
    for number in range(150):
        history.push(f"r{number}", linux="P")
    history.push("g", linux="P")
    for name in "hijkm":
        history.push(name, linux="F")
    assert count() == few
