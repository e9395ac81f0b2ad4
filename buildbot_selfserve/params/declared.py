"""The parameters of this API."""

from __future__ import annotations

from dataclasses import replace

from buildbot_selfserve.answers import LONGEST_HOLD
from buildbot_selfserve.model import LONGEST_RANGE
from buildbot_selfserve.model import MARKS
from buildbot_selfserve.model import NEXT
from buildbot_selfserve.model import STABLE_DELAY as DEFAULT_DELAY
from buildbot_selfserve.model import VIRTUAL_BUILDER
from buildbot_selfserve.params.kinds import INT32
from buildbot_selfserve.params.kinds import Choice
from buildbot_selfserve.params.kinds import Choices
from buildbot_selfserve.params.kinds import Date
from buildbot_selfserve.params.kinds import Ending
from buildbot_selfserve.params.kinds import Flag
from buildbot_selfserve.params.kinds import Globs
from buildbot_selfserve.params.kinds import Int
from buildbot_selfserve.params.kinds import IntOrWord
from buildbot_selfserve.params.kinds import JsonObject
from buildbot_selfserve.params.kinds import Moment
from buildbot_selfserve.params.kinds import Names
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.params.kinds import Text
from buildbot_selfserve.params.kinds import TextList

PRIORITY = Int(
    "priority",
    "Requests with a higher priority are built first.",
    default=0,
    minimum=-INT32 - 1,
)
COUNT = Int(
    "count",
    "How many new builds to make, at most 100 unless this Buildbot is configured otherwise.",
    default=1,
    minimum=1,
    maximum="max_count",
)
BUILD_ID = Int("build_id", "The id of the build.", required=True, minimum=1, noun="build")
REVISION = Text(
    "revision",
    "The revision; of a hash, at least the first 6 hexadecimal digits.",
    required=True,
    noun="revision",
)
REQUEST_ID = Int(
    "request_id", "The id of the build request.", required=True, minimum=1, noun="request"
)
#: Another text than a known revision is taken as it is (docs/api.md).
ANY_REVISION = replace(
    REVISION,
    text="The revision. The first 6 or more digits of a known hash are completed; anything else"
    " is used as given.",
    noun="any_revision",
)
BUILDER_NAME = Text("builder_name", "The name of the builder.", required=True, noun="builder")
#: Virtual builders have built, too, though no master is configured with them.
BUILT_BUILDER = replace(BUILDER_NAME, noun="built_builder")
BAD = replace(
    REVISION,
    text="The revision that fails; by default, the newest at which the latest result of the builder"
    " is a failure. Of a hash, at least the first 6 hexadecimal digits.",
    required=False,
)
GOOD = Text(
    "good",
    "A revision before it that passes; by default, the nearest at which the latest result of the"
    " builder is good.",
    noun="good",
)
MOST_BETWEEN = Int(
    "max",
    "How many revisions may lie between the two, at most.",
    default=19,
    minimum=1,
    maximum=LONGEST_RANGE,
)
MOST_BISECTED = replace(MOST_BETWEEN, default=LONGEST_RANGE)
CONFIRM = Int(
    "confirm",
    "How many more builds of the last good and of the first bad revision must say the same before"
    " the culprit is named; from 2 on, one more than that where the range leaves room. If 2 % of"
    " the builds flake, 1 names a wrong culprit in one range of 500, and 2 in fewer than one of"
    " 100,000.",
    default=1,
    minimum=0,
    maximum=10,
)
TIMES = Int(
    "times",
    "How many results each revision is to have, with those that it has and those that are pending"
    " or running; at most 100 unless this Buildbot is configured otherwise.",
    default=1,
    minimum=1,
    maximum="max_count",
)
ORDER = Choice(
    "order",
    "What to build first: newest or oldest, where all builds are requested at once; or halving, the"
    " default: the middle of the largest gap between known results, two builds at a time.",
    default="halving",
    choices=("newest", "oldest", "halving"),
)
BACKFILL_PRIORITY = replace(
    PRIORITY,
    text="Requests with a higher priority are built first; by default -1, so that other builds go"
    " first, unless this Buildbot is configured otherwise.",
    default=None,
)
FORCE = Flag(
    "force",
    "With 1, where no revision passes within max, build all of them.",
)
#: What a question may be about.
ABOUT_BUILD = replace(BUILD_ID, text="Answer for this build.", required=False)
ABOUT_REQUEST = replace(REQUEST_ID, text="Answer for this build request.", required=False)
ABOUT_BUILDER = replace(
    BUILDER_NAME, name="builder", text="Answer for this builder.", required=False
)
#: Without one, a scheduler gives its own.
SCHEDULED_PRIORITY = replace(
    PRIORITY,
    text="Requests with a higher priority are built first; by default, each scheduler sets its"
    " own.",
    default=None,
)
#: What Buildbot or self-serve itself sets: a build with another value would be another's, or go
#: elsewhere.
RESERVED_PROPERTIES = MARKS | VIRTUAL_BUILDER | {"scheduler", "buildid", "builduid"}
PROPERTIES = JsonObject(
    "properties",
    "Properties of the new build, by name, at most 200; each value at most 60,000 bytes of JSON in"
    " ASCII.",
    reserved=RESERVED_PROPERTIES,
)
#: A rebuild has the properties of what it rebuilds.
CHANGED_PROPERTIES = replace(
    PROPERTIES,
    text="Properties to set or, with null, to remove, by name, at most 200; the other properties"
    " stay as they were. Each value has at most 60,000 bytes of JSON in ASCII.",
)
SAME_REVISION = Flag(
    "same_revision",
    "With 1, where no revision was named, build the one that the build found (got_revision); by"
    " default, the newest commit.",
)
FILES = TextList(
    "files",
    "Names of changed files, for the steps that use them. They belong to the revision: all its"
    " builds see the newest list.",
)
CATEGORY = Text("category", "The category of the change, if it has to be recorded.")
PROJECT = Text("project", "The project of the change, if it has to be recorded.")
NEW_PRIORITY = IntOrWord(
    "priority",
    "Requests with a higher priority are built first; next is one more than the highest that waits"
    " for the builder.",
    required=True,
    minimum=-INT32 - 1,
    word=NEXT,
)
STABLE_DELAY = Int(
    "stableDelay",
    "Seconds that must have passed since the last build or request ended.",
    default=DEFAULT_DELAY,
)
WITH_REVISION = Text(
    "revision", "Return only branches that have this revision, or a hash that begins with it."
)
PATCHED = Flag(
    "patched",
    "With 1, include builds of the revision with a patch, such as those of a try scheduler.",
)
SEARCH = Text("search", "Return only branches whose names contain this text; case does not matter.")
DATE = Date("date", "The day, in the timezone of this Buildbot; today by default.")
NUM = Int("num", "The maximum number of job requests.", default=100, minimum=1, maximum=10000)
OFFSET = Int("offset", "The number of job requests to skip, newest first.", default=0)
WHO = Text("who", "Return only job requests of this user.")
ACTION = Text(
    "action", "Return only job requests whose action is this, or begins with it, such as cancel."
)
BRANCH_FILTER = Text("branch", "Return only job requests on this branch.")
REQUEST_FILTER = Int(
    "request_id",
    "Return only job requests that made, changed or ended this build request, or were about it or"
    " one of its builds.",
    minimum=1,
)
BUILD_FILTER = Int(
    "build_id",
    "Return only job requests that made, changed or ended this build, or were about it.",
    minimum=1,
)
REVISION_FILTER = Text(
    "revision",
    "Return only job requests about this revision, or about a build or build request at it; of a"
    " hash, at least the first 6 hexadecimal digits.",
)
SINCE = Moment("since", "Return only job requests from this time (epoch seconds) or this day on.")
UNTIL = Moment(
    "until", "Return only job requests up to this time (epoch seconds) or the end of this day."
)

BUILDERS = Globs(
    "builders",
    "Select only builders whose name matches one of these shell patterns, such as linux*; in a"
    " text, one a line.",
)
TAGS = Globs(
    "tags",
    "Select only builders that have a tag which matches one of these shell patterns; in a text, one"
    " a line.",
)
EXCLUDE_BUILDERS = Globs(
    "exclude_builders",
    "Leave out builders whose name matches one of these shell patterns; in a text, one a line.",
    fewest=0,
)
#: Together they say which builders are meant (``views/lookup.py``, ``selection``).
SELECTORS: tuple[Globs, ...] = (BUILDERS, TAGS, EXCLUDE_BUILDERS)
STATES = Choices(
    "states",
    "Rerun the builders whose latest finished build has one of these results; in a text, with"
    " commas.",
    default=("failure", "exception"),
    choices=("failure", "exception", "warnings", "cancelled", "retry"),
)
DRY_RUN = Flag(
    "dry_run",
    "With 1, return the plan, which says what would be done, and do nothing.",
    strict=True,
)
IF_PLAN = Text(
    "if_plan",
    "Do it only if the plan is still this one, which a dry run has returned.",
    strict=True,
)
HOLD_REASON = Text(
    "reason", "Why. Everybody sees it where something is held.", required=True, strict=True
)
EXPIRES = Ending(
    "expires",
    "When the hold ends by itself: epoch seconds, or ISO 8601 with an offset from UTC, such as"
    " 2026-11-29T18:00:00+01:00; in the future, at most 30 days from now.",
    required=True,
    strict=True,
    days=LONGEST_HOLD,
)
ABOVE = Int(
    "above",
    "Requests with this priority or a higher one start all the same.",
    default=None,
    minimum=-INT32 - 1,
)

#: Every GET and every job request has it, in its query.
FORMAT = Choice(
    "format",
    "The format of the answer; by default, the Accept header decides.",
    choices=("json", "html"),
)

#: A header of job requests.
IDEMPOTENCY_KEY = Text(
    "Idempotency-Key",
    "Makes it safe to send a job request again: the same key, from the same user and with the"
    " same content, returns the first receipt.",
)

TAIL = Int(
    "tail", "Return only so many of the last lines; all by default.", minimum=1, maximum=10000
)
LINE_OFFSET = Int("offset", "The number of lines to skip, from the first one on.", default=0)
SEARCHED = Text(
    "q",
    "A revision; part of the name of a builder, an author or a branch, or of the subject of a"
    " recent push, where case does not matter; or the id of a build or build request, such as 25,"
    " build 25 or request 25.",
    required=True,
)
SEARCH_LIMIT = Int("limit", "The maximum number of each kind.", default=20, minimum=1, maximum=200)
ON_BRANCH = Text("branch", "Look for a revision on this branch first.", noun="branch")
GOTO_BUILD = Int("build", "The id of a build.", minimum=1)
GOTO_REQUEST = Int("request", "The id of a build request.", minimum=1)
GOTO_CHANGE = Int("change", "The id of a change.", minimum=1)
GOTO_BUILDER = Text("builder", "The id or the name of a builder.")
GOTO_NUMBER = Int("number", "With a builder, the number of one of its builds.", minimum=1)

LIMIT = Int(
    "limit",
    "The maximum number of rows; the Link header of the answer has the URL of the next page.",
    minimum=1,
    maximum=50000,
)
ROW_OFFSET = Int("offset", "The number of rows to skip, newest first.", default=0)
PAGING: tuple[Param, ...] = (LIMIT, ROW_OFFSET)

PUSH_LIMIT = Int("limit", "The maximum number of pushes.", default=20, minimum=1, maximum=100)
BEFORE = Text("before", "Return only pushes that are older than this revision.", strict=True)
BEFORE_BRANCH = Text(
    "before_branch", "The branch of that revision; by default, where it was pushed last."
)
AUTHOR = Text(
    "author", "Return only pushes of this author: the whole name of a change, or the address in it."
)
ALSO = Names(
    "also",
    "Further names of the same user: the whole author of a change, or the address in it.",
    most=10,
)
BASE = Text("base", "Compare with this revision of the branch.", strict=True)
MOST_PUSHES = Int(
    "max", "The number of revisions to look at, at most.", default=100, minimum=1, maximum=1000
)

#: Held answers are held back so long at most, in seconds.
LONGEST_WAIT = 600
WAIT = Int(
    "wait",
    "Seconds to hold the answer back until it is complete, at most.",
    default=0,
    maximum=LONGEST_WAIT,
)

#: What may stand between < and > in a path, and how it is documented. Text that is no number
#: where one belongs names nothing, so a path is never a bad parameter: it is not found.
PATH: dict[str, Param] = {
    "branch": Text("branch", "The branch's name in this API.", required=True),
    "build": BUILD_ID,
    "request": REQUEST_ID,
    "revision": REVISION,
    "any_revision": ANY_REVISION,
    "builder": BUILDER_NAME,
    "built_builder": BUILDER_NAME,
    "good": REVISION,
    "builder_set": Text(
        "set", "The name of a set: nightly, pgo or one that is configured.", required=True
    ),
    "user": Text("user", "The author of changes, or the address in it.", required=True),
    "anybody": Text("user", "The author of changes, or the address in it.", required=True),
    "step": Text("step", "The number of the step, or its name.", required=True),
    "log": Text("log", "The slug of the log, or its name.", required=True),
    "job": Int("job_id", "The id of the job request.", required=True, minimum=1),
    "bisection": Int("job_id", "The id of the bisection's job request.", required=True, minimum=1),
}
