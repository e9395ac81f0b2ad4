"""Shows answers: tables for people, JSON for scripts."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildbot_selfserve.client.command import times
from buildbot_selfserve.client.rows import FAILED_STATES
from buildbot_selfserve.client.rows import Bisection
from buildbot_selfserve.client.rows import BuilderHealth
from buildbot_selfserve.client.rows import Done
from buildbot_selfserve.client.rows import Health
from buildbot_selfserve.client.rows import Hold
from buildbot_selfserve.client.rows import Job
from buildbot_selfserve.client.rows import JobDetail
from buildbot_selfserve.client.rows import LogLine
from buildbot_selfserve.client.rows import Outcome
from buildbot_selfserve.client.rows import OutcomeNow
from buildbot_selfserve.client.rows import Permissions
from buildbot_selfserve.client.rows import Plan
from buildbot_selfserve.client.rows import Push
from buildbot_selfserve.client.rows import PushBuilder
from buildbot_selfserve.client.rows import Queue
from buildbot_selfserve.client.rows import QueuedRequest
from buildbot_selfserve.client.rows import RangeRevision
from buildbot_selfserve.client.rows import Reason
from buildbot_selfserve.client.rows import Receipt
from buildbot_selfserve.client.rows import Why
from buildbot_selfserve.client.rows import WorkerSet
from buildbot_selfserve.client.rows import is_passed_over
from buildbot_selfserve.client.rows import request_of
from buildbot_selfserve.client.rows import state
from buildbot_selfserve.state_words import CHANGE_WORDS
from buildbot_selfserve.state_words import action_word
from buildbot_selfserve.state_words import bisection_word
from buildbot_selfserve.state_words import builder_word
from buildbot_selfserve.state_words import outcome_word
from buildbot_selfserve.state_words import state_word
from buildbot_selfserve.state_words import status_word
from buildbot_selfserve.state_words import verdict_word
from buildbot_selfserve.state_words import what_label

#: So much of a revision tells it from others.
SHORT_REVISION = 12
#: Columns that are cut where a line has no room for all of them: names have a beginning that tells.
_CUT = frozenset(
    {
        "BUILDER",
        "REVISION",
        "OWNER",
        "BRANCH",
        "REPOSITORY",
        "WHO",
        "ACTION",
        "RESULT",
        "AUTHOR",
        "SUBJECT",
        "FAILING",
        "FAILED IN",
    }
)
#: Columns of sentences: they go on in the next line, between two words.
_WRAPPED = frozenset({"NOTE", "WORKERS"})
#: Columns that are left out where a line has fewer than so many characters, for the names' sake.
_ROOMY = frozenset({"BASE", "OWNER"})
ROOM = 100
#: So much of a hash is shown there.
_SHORT_HASH = 8
#: Columns of what is not a terminal: a line is never broken there.
ENDLESS = 100_000

_HASH = re.compile(f"[0-9a-f]{{{SHORT_REVISION}}}")
_STYLES = {
    "passed": "green",
    "passed with warnings": "yellow",
    "fixed": "green",
    "regression": "bold red",
    "failed before, too": "red",
    "no result before": "yellow",
    "flaky": "yellow",
    "flaky here": "yellow",
    "incomplete": "yellow",
    "exception": "magenta",
    "retry": "blue",
    "cancelled": "magenta",
    "skipped": "blue",
    "running": "cyan",
    "waiting": "dim",
    "not built yet": "dim",
    "not requested": "dim",
    "done": "green",
    "failed": "red",
    "failing": "red",
    "denied": "red",
    "left out": "yellow",
    "unknown": "magenta",
}

#: What a terminal would obey: a control sequence, a string up to its end, any other sequence.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])(?:[^\x07\x1b\x90\x98\x9c-\x9f\n]*(?:\x07|\x1b\\|\x9c))?"
    r"|\x1b[ -/]*[0-~]?"
)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
#: Control characters but for tabs, line ends and what begins a colour; and those that let a text be
#: read in another order.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\x1b(?!\[[0-9;:]*m)"
)


class Screen:
    """Where answers go, and what is to be said beside them.

    :param as_json: answers are for scripts
    :param wide: lines are as long as they must be, also on a terminal
    :param urls: tables have the URLs of what they list; a line is as long as it must be then, too
    """

    def __init__(self, as_json: bool, wide: bool = False, urls: bool = False) -> None:
        self.as_json = as_json
        self.urls = urls
        # colours that are asked for make no terminal of a file
        self.wide = wide or urls or not sys.stdout.isatty()
        self.out = _console(stderr=False, wide=self.wide)
        self.err = _console(stderr=True)

    # -- beside the answers

    def complain(self, text: str) -> None:
        """Say what went wrong, or may."""
        _print_line(self.err, f"selfserve: {text}")

    def pause(self, seconds: float, why: str) -> None:
        """Wait, and say why if something went wrong."""
        if why:
            unit = "second" if seconds == 1 else "seconds"
            self.complain(f"{why}; trying again in {seconds:.3g} {unit}")
        time.sleep(seconds)

    # -- answers

    def value(self, value: Any) -> None:
        """Write the JSON of *value*."""
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=not _writes_unicode()) + "\n")
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Show a line; on a terminal, it is broken between words."""
        _print_line(self.out, text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show a table: on a terminal as wide as that, else with each row whole on a line."""
        shown = [at for at, name in enumerate(columns) if self._shows(name)]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for at in shown:
            name = columns[at]
            fixed = self.wide or name not in _CUT | _WRAPPED
            table.add_column(name, no_wrap=fixed, overflow="ellipsis")
        for row in rows:
            table.add_row(*(self._cell(row[at], columns[at]) for at in shown))
        if not self.wide:
            self.out.print(table)
            return
        with self.out.capture() as written:
            self.out.print(table)
        lines = (line.rstrip() for line in written.get().splitlines())
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()

    def _cell(self, value: object, column: str) -> Text:
        text = "" if value is None else clean(str(value)).replace("\n", " ")
        if column in ("REVISION", "BASE") and not self.wide and _HASH.fullmatch(text):
            text = text[:_SHORT_HASH]
        return Text(text, style=_STYLES.get(text, ""), no_wrap=column not in _WRAPPED)

    def _shows(self, column: str) -> bool:
        if column == "URL":
            return self.urls
        return self.wide or self.out.width >= ROOM or column not in _ROOMY

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show builds and build requests."""
        if self.as_json:
            self.value(rows)
            return
        columns = (
            "BUILD",
            "REQUEST",
            "BUILDER",
            "REVISION",
            "STATE",
            "SINCE",
            "TOOK",
            "OWNER",
            "URL",
        )
        self.table(columns, (_row(row, self.moment) for row in rows))

    def done(self, branch: str, revision: str, done: Done) -> None:
        """Show whether a revision is done."""
        if self.as_json:
            self.value(done)
            return
        state = "" if done["job_complete"] or is_passed_over(done) else "not done, "
        ended = done["builds"] or done["failed"] or done["cancelled"] or done["skipped"]
        is_requested = bool(done["pending"] or done["running"] or ended)
        word = verdict_word(done["verdict"], is_requested, bool(done["failing"]))
        self.line(f"{branch} {revision}: {state}{word} ({counts(done)})")
        for what in ("failing", "flaky"):
            if done[what]:
                self.line(f"{what}: {', '.join(done[what])}")
        if is_passed_over(done):
            self.line(f"built with: {done['built_with']}")

    def why(self, why: Why) -> None:
        """Show why a build request waits."""
        if self.as_json:
            self.value(why)
            return
        place = "" if why["position"] is None else f", number {why['position']} of its builder"
        self.line(f"Request {why['request_id']}: {state_word(why['state'])}{place}")
        for reason in why["reasons"]:
            fatal = ". It will never start as things are" if reason["fatal"] else ""
            self.line(f"{_reason(reason, times.shown)}{fatal}.")
        if why["eta"] is not None:
            earliest, likely = (
                times.shown(why["eta"]["earliest"]),
                times.shown(why["eta"]["likely"]),
            )
            self.line(f"Likely done between {earliest} and {likely}.")
        elif why["state"] in ("pending", "running"):
            self.line(f"When it is done is not known. {why['eta_reason']}.")

    def queue(self, queue: Queue) -> None:
        """Show what waits."""
        if self.as_json:
            self.value(queue)
            return
        if queue["oldest"] is None:
            self.line("Nothing waits.")
            return
        self.line(f"{queue['waiting']} waiting, the oldest for {_span(queue['oldest'])}")
        sets = ("WAITING", "BUSY", "OLDEST", "HALF WAITED", "9 IN 10 WAITED", "WORKERS")
        self.table(sets, map(_worker_set, queue["worker_sets"]))
        columns = ("REQUEST", "BUILDER", "BRANCH", "PRIORITY", "SINCE", "OWNER", "NOTE", "URL")
        self.table(columns, (_queued(one, self.moment) for one in queue["requests"]))

    def pushes(self, pushes: Sequence[Push]) -> None:
        """Show pushes, each with the builders that fail."""
        if self.as_json:
            self.value(pushes)
            return
        columns = ["REVISION", "WHEN", "VERDICT", "FAILING", "AUTHOR", "SUBJECT", "URL"]
        rows = [_push(one, self.moment) for one in pushes]
        if any("branch" in one for one in pushes):
            branches = [one.get("branch") for one in pushes]
            if self.wide:
                columns.insert(0, "BRANCH")
                rows = [(branch, *row) for branch, row in zip(branches, rows, strict=True)]
            else:
                # they are all of one author
                at = columns.index("AUTHOR")
                columns[at] = "BRANCH"
                rows = [
                    (*row[:at], branch, *row[at + 1 :])
                    for branch, row in zip(branches, rows, strict=True)
                ]
        self.table(columns, rows)

    def health(self, branch: str, health: Health) -> None:
        """Show whether a revision is good, builder by builder."""
        if self.as_json:
            self.value(health)
            return
        self.health_line(branch, health)
        if health["builders"]:
            columns = ("BUILDER", "STATE", "CHANGE", "BUILDS", "BUILD", "FAILED IN", "BASE", "URL")
            self.table(columns, map(_builder_health, health["builders"]))

    def health_line(self, branch: str, health: Health) -> None:
        """Show whether a revision is good, in one line."""
        counted = sorted(health["counts"].items())
        found = ", ".join(f"{count} {builder_word(state)}" for state, count in counted)
        word = _verdict(health["verdict"], health["builders"])
        self.line(f"{branch} {health['revision']}: {word} ({found or 'no builds'})")

    def event(self, state: str, name: str, note: str) -> None:
        """Show that a builder has come to a state; on a terminal, in one line."""
        text, word = Text(f"{times.now_shown()}  "), builder_word(state)
        text.append(f"{word:9}", _STYLES.get(word, ""))
        text.append(clean(f"  {name}{f': {note}' if note else ''}"))
        if self.as_json:
            self.complain(text.plain)
        else:
            self.out.print(text, no_wrap=True, overflow="ellipsis", soft_wrap=self.wide)

    @contextlib.contextmanager
    def last_line(self) -> Iterator[Callable[[str], None]]:
        """Keep a last line on the terminal that tells what goes on; nothing where there is none."""
        if self.as_json or not (sys.stdout.isatty() and self.out.is_terminal):
            yield lambda text: None
            return
        # who writes beside it would tear it apart
        beside, self.err = self.err, self.out
        try:
            with self.out.status(Text("waiting")) as status:
                yield lambda text: status.update(
                    Text(clean(text), no_wrap=True, overflow="ellipsis")
                )
        finally:
            self.err = beside

    def receipt(self, receipt: Receipt) -> None:
        """Show what came of a job request."""
        if self.as_json:
            self.value(receipt)
            return
        self.line(f"{times.with_local_times(receipt['msg'])} (job {receipt['job_id']})")
        self._outcomes(receipt["requests"])

    def bisection(self, found: Bisection) -> None:
        """Show how far a bisection has come, or how it ended."""
        if self.as_json:
            self.value(found)
            return
        word = bisection_word(found["status"])
        self.line(f"{word}: {found['msg']} (job {found['job_id']})")
        known = [one for one in found["revisions"] if one["state"] != "untested"]
        self.table(("REVISION", "STATE", "BUILD", "AUTHOR", "SUBJECT"), map(_range_revision, known))

    def plan(self, plan: Plan) -> None:
        """Show what a job request would do."""
        if self.as_json:
            self.value(plan)
            return
        self.line(f"{times.with_local_times(plan['msg'])}; nothing was done (plan {plan['plan']})")
        if plan["requests"]:
            columns = ("OUTCOME", "BUILDER", "REQUEST", "REVISION", "PRIORITY", "NOTE")
            self.table(columns, map(_planned, plan["requests"]))

    def holds(self, holds: Sequence[Hold]) -> None:
        """Show the holds of a branch."""
        if self.as_json:
            self.value(holds)
            return
        if not holds:
            self.line("Nothing is held.")
            return
        columns = ("UNTIL", "HELD", "WHO", "BUILDERS", "PASSES FROM", "REASON")
        self.table(columns, (_hold(one, self.moment) for one in holds))

    def permissions(self, found: Permissions) -> None:
        """Show what the user may do."""
        if self.as_json:
            self.value(found)
            return
        words = {True: "yes", False: "no", None: "depends"}
        rows = (
            (action_word(name), words[one["allowed"]], one["why"])
            for name, one in found["actions"].items()
        )
        self.table(("ACTION", "ALLOWED", "NOTE"), rows)
        for name, limit in found["limits"].items():
            self.line(f"{name}: {limit['left']} of {limit['limit']} left")

    def jobs(self, jobs: Sequence[Job]) -> None:
        """Show a page of the journal."""
        if self.as_json:
            self.value(jobs)
            return
        columns = ("JOB", "WHEN", "WHO", "ACTION", "BRANCH", "STATUS", "RESULT")
        self.table(columns, (_job(job, self.moment) for job in jobs))

    def job(self, job: JobDetail) -> None:
        """Show one job request, how it ended, and what has become of its requests since then."""
        if self.as_json:
            self.value(job)
            return
        self.line(
            f"Job {job['job_id']}: {action_word(job['action'])}, by {job['who']} ({job['via']})"
        )
        self.line(f"asked for at {times.shown(job['when'])}, from {job['remote']}")
        for name, value in job["what"].items():
            self.line(f"  {what_label(name, job['action'])}: {_asked(name, value)}")
        ended = f", ended at {times.shown(job['completed_at'])}" if job["completed_at"] else ""
        self.line(f"{status_word(job['status'])}{ended}: {_ending(job)}")
        outcomes = [] if job["complete_data"] is None else job["complete_data"]["body"]["requests"]
        if outcomes:
            columns = ("REQUEST", "BUILDER", "OUTCOME", "NOW", "BUILDS", "NOTE", "URL")
            self.table(columns, map(_outcome_now, outcomes))

    def heading(self, text: str) -> None:
        """Show what the text below is about."""
        self.out.print(Text(f"==> {clean(text)} <==", style="bold"), soft_wrap=True)

    def log_text(self, text: str) -> None:
        """Show a log; on a terminal with the colours that it has, and with nothing else of them."""
        coloured = self.out.is_terminal and not self.out.no_color
        shown = _ESCAPE.sub(_colours if coloured else "", text)
        shown = _CONTROL.sub("\ufffd", shown)
        sys.stdout.write(f"{shown}\x1b[0m" if coloured and "\x1b" in shown else shown)
        sys.stdout.flush()

    def log_lines(self, lines: Iterable[LogLine]) -> None:
        """Show lines of a log; what came from standard error is red on a terminal."""
        for line in lines:
            style = "red" if line["stream"] == "stderr" else ""
            text = _CONTROL.sub("\ufffd", _ESCAPE.sub("", line["text"]))
            self.out.print(Text(text, style=style), soft_wrap=True)

    def names(self, names: Sequence[str]) -> None:
        """Show names, one a line."""
        if self.as_json:
            self.value(names)
            return
        for name in names:
            # whole, so that it can be pasted
            self.out.print(Text(clean(name)), soft_wrap=True)

    def moment(self, seconds: int) -> str:
        """Return epoch seconds in the time of this place, as short as there is room for."""
        return times.shown(seconds) if self.wide else times.shown_short(seconds)

    def _outcomes(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            columns = ("REQUEST", "BUILDER", "OUTCOME", "BUILDS", "NOTE", "URL")
            self.table(*_with_revisions(columns, map(_outcome, outcomes), outcomes))


def counts(done: Done) -> str:
    """Return how far a revision is, in figures."""
    figures = {
        "waiting": done["pending"],
        "running": done["running"],
        "ended": done["builds"],
        "failed": done["failed"],
        "cancelled": done["cancelled"],
    }
    if done["skipped"]:
        figures["skipped"] = done["skipped"]
    return ", ".join(f"{figure} {word}" for word, figure in figures.items())


def _colours(escape: re.Match[str]) -> str:
    """Return *escape* if it is a colour, else nothing."""
    return escape[0] if _COLOUR.fullmatch(escape[0]) else ""


def clean(text: str) -> str:
    """Return *text* without what could tell the terminal to do anything.

    The names of builders and branches, reasons and messages are others' texts.
    """
    return "".join(
        "\ufffd" if unicodedata.category(one) in ("Cc", "Cf", "Cs") and one != "\n" else one
        for one in text
    )


class _Console(Console):
    """A console that tells when nobody reads; rich would end the program with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(*, stderr: bool, wide: bool = False) -> Console:
    plain: dict[str, Any] = {
        "stderr": stderr,
        "highlight": False,
        "markup": False,
        "emoji": False,
    }
    console = _Console(**plain)
    if not console.is_terminal:
        return _Console(**plain, width=ENDLESS, no_color=True)
    return _Console(**plain, width=ENDLESS) if wide else console


def _print_line(console: Console, text: str) -> None:
    """Print *text*; where there is a terminal, break it between words, which stay whole."""
    lines = [clean(text)]
    if console.is_terminal:
        lines = textwrap.wrap(
            lines[0], console.width, break_long_words=False, break_on_hyphens=False
        )
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _writes_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _row(row: Mapping[str, Any], moment: Callable[[int], str]) -> tuple[object, ...]:
    request = request_of(row)
    begun, ended = row.get("starttime"), row.get("endtime")
    return (
        row.get("build_id"),
        request["request_id"],
        row["buildername"],
        (row["revision"] or "")[:SHORT_REVISION],
        f"{state_word(state(row))}{', patched' if row.get('patched') else ''}",
        moment(begun or request["submittime"]),
        _span(ended - begun) if begun and ended else None,
        request.get("owner"),
        row.get("url"),
    )


def _worker_set(one: WorkerSet) -> tuple[object, ...]:
    waits = (None if wait is None else _span(wait) for wait in (one["p50"], one["p90"]))
    busy = f"{one['busy']} of {len(one['workers'])}"
    away = len(one.get("not_connected", ()))  # a server of before does not tell
    busy += f", {away} not connected" if away else ""
    return one["waiting"], busy, _span(one["oldest"]), *waits, ", ".join(one["workers"])


def _hold(hold: Hold, moment: Callable[[int], str]) -> Sequence[object]:
    tags = [f"tag {one}" for one in hold["tags"]]
    without = [f"not {one}" for one in hold["exclude_builders"]]
    which = ", ".join([*hold["builders"], *tags, *without]) or "all"
    above = "" if hold["above"] is None else f"priority {hold['above']}"
    return moment(hold["expires"]), hold["waiting"], hold["who"], which, above, hold["reason"]


def _queued(one: QueuedRequest, moment: Callable[[int], str]) -> tuple[object, ...]:
    return (
        one["request_id"],
        one["buildername"],
        one["branch"],
        one["priority"],
        moment(one["submittime"]),
        one["owner"],
        _reason(one["reason"], moment),
        one.get("url"),
    )


def _reason(reason: Reason, moment: Callable[[int], str]) -> str:
    """Return why a request waits, with the end of that where it is known."""
    if "until" not in reason:
        return reason["msg"]
    until = "; not before" if reason["code"] == "held" else ", until"
    return f"{reason['msg']}{until} {moment(reason['until'])}"


def _push(push: Push, moment: Callable[[int], str]) -> tuple[object, ...]:
    failing = [one["buildername"] for one in push["builders"] if _fails(one)]
    return (
        push["revision"][:SHORT_REVISION],
        None if push["when"] is None else moment(push["when"]),
        _verdict(push["verdict"], push["builders"]),
        ", ".join(failing),
        push["author"],
        push["subject"],
        push["url"],
    )


def _verdict(verdict: str, builders: Iterable[BuilderHealth | PushBuilder]) -> str:
    """Return the word for a verdict."""
    builders = list(builders)
    is_requested = any(one["state"] != "missing" for one in builders)
    return verdict_word(verdict, is_requested, any(map(_fails, builders)))


def _fails(one: BuilderHealth | PushBuilder) -> bool:
    """Whether the latest result of a builder is a failure, as far as is told while it builds."""
    return one["state"] in FAILED_STATES or one["change"] in ("regressed", "still_failing")


def _builder_health(one: BuilderHealth) -> tuple[object, ...]:
    base = (one["base_revision"] or "")[:SHORT_REVISION]
    return (
        one["buildername"],
        builder_word(one["state"]),
        CHANGE_WORDS.get(one["change"], one["change"]),
        one["attempts"],
        one["build_id"],
        one["failed_step"],
        base,
        one["url"],
    )


def _span(seconds: int) -> str:
    minutes, rest = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _outcome(one: Outcome) -> tuple[object, ...]:
    builds = " ".join(map(str, one["build_ids"]))
    names = (one["request_id"], one["buildername"], outcome_word(one["outcome"], one["msg"]))
    return (*names, builds, one["msg"], one["url"])


def _with_revisions(
    columns: tuple[str, ...], rows: Iterable[tuple[object, ...]], outcomes: Sequence[Outcome]
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return a table with a column more where a job request is about several revisions."""
    if not any(one.get("revision") for one in outcomes):
        return columns, list(rows)
    short = [(one.get("revision") or "")[:SHORT_REVISION] for one in outcomes]
    wider = [(*row[:2], text, *row[2:]) for row, text in zip(rows, short, strict=True)]
    return (*columns[:2], "REVISION", *columns[2:]), wider


def _range_revision(one: RangeRevision) -> tuple[object, ...]:
    build = one["build_id"] or ""
    state = state_word(one["state"])
    return one["revision"][:SHORT_REVISION], state, build, one["author"], one["subject"]


def _outcome_now(one: OutcomeNow) -> tuple[object, ...]:
    builds = " ".join(map(str, one["build_ids"]))
    # a server of before does not tell
    now = (outcome_word(one["outcome"], one["msg"]), state_word(one.get("state") or ""))
    return (one["request_id"], one["buildername"], *now, builds, one["msg"], one["url"])


def _planned(one: Outcome) -> tuple[object, ...]:
    request_id, priority = one["request_id"], one.get("priority")
    revision = (one.get("revision") or "")[:SHORT_REVISION]
    outcome = outcome_word(one["outcome"], one["msg"])
    return outcome, one["buildername"], request_id, revision, priority, one["msg"]


def _job(job: Job, moment: Callable[[int], str]) -> tuple[object, ...]:
    return (
        job["job_id"],
        moment(job["when"]),
        job["who"],
        action_word(job["action"]),
        job["branch"],
        status_word(job["status"]),
        _ending(job),
    )


def _asked(name: str, value: object) -> str:
    """Return the value of an entry of what was asked for."""
    if name == "expires" and isinstance(value, int):
        return times.shown(value)
    return value if isinstance(value, str) else json.dumps(value)


def _ending(job: Job | JobDetail) -> str:
    if job["complete_data"] is None:
        return ""
    return times.with_local_times(job["complete_data"]["body"]["msg"])
