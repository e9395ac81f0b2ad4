"""What docs/api.md says beside what is made from the declared routes (``docs/generate.py``)."""

from __future__ import annotations

#: Headers that a request may have, of which requests, and what they mean.
SENT = (
    ("`Accept`", "all", "`application/json`, or what browsers send: see [Answers](#answers)"),
    ("`Accept-Encoding`", "reads", "with `gzip`, long answers are compressed"),
    ("`Authorization`", "all", "your credentials: see [Credentials](#credentials)"),
    (
        "`Content-Type`",
        "job requests",
        "the type of the body: `application/x-www-form-urlencoded` (the default),"
        " `multipart/form-data` or `application/json`",
    ),
    (
        "`Idempotency-Key`",
        "job requests",
        "makes it safe to send them again: see [Sending again](#sending-again)",
    ),
    (
        "`If-None-Match`",
        "reads",
        "the `ETag` of the answer that you have; 304 if it is still current",
    ),
    (
        "`X-Requested-With`",
        "job requests",
        "any text. Only scripts that send the session cookie of a login, and none of `Origin`,"
        " `Sec-Fetch-Site` and `Referer`, need it; without it they get 403. A form of another site"
        " cannot set it",
    ),
)

#: Headers of answers, likewise.
ANSWERED = (
    ("`Allow`", "204, 405", "the methods of this path"),
    ("`ETag`", "most reads", "names this answer, for `If-None-Match`"),
    (
        "`Link`",
        "pages, parts of lists",
        'where the JSON of this page is (`rel="alternate"`); where the rows before and after these'
        " are (`prev`, `next`)",
    ),
    ("`Location`", "202, 303", "the page of the job request, whose JSON has the same path"),
    ("`Location`", "301, 308", "the path without its trailing slash"),
    ("`Retry-After`", "429, 503", "seconds after which to try again"),
    (
        "`WWW-Authenticate`",
        "401",
        "the credentials that this master accepts; not sent to browsers",
    ),
)

#: How to say who one is.
CREDENTIALS = (
    (
        "`Authorization: Bearer TOKEN`",
        "an API token, made by an operator",
        "`curl -H @FILE`, with that line in a file of your own",
    ),
    (
        "`Authorization: Basic ...`",
        "a name and a password, where the master checks passwords itself",
        "`curl -u NAME:PASSWORD`, or `curl -n` with both in `~/.netrc`",
    ),
    (
        "the cookie `TWISTED_SESSION`",
        "the session of a login at Buildbot's own pages; where the master itself speaks TLS,"
        " `TWISTED_SECURE_SESSION`",
        "browsers",
    ),
)

#: What each outcome means.
OUTCOMES = {
    "created": "a new request, pending, or already being built",
    "skipped": "a new request, which the master's own `collapseRequests` has collapsed",
    "cancelled": "it was pending and is cancelled",
    "stopped": "its build was running and has stopped",
    "stop_sent": "its build was told to stop, and has not yet; the journal tells how it ends",
    "waiting": "its build was about to start, and could not be stopped yet; the journal tells more",
    "already_complete": "it had already ended, or ended by itself; `msg` says how",
    "reprioritized": "it has the new priority",
    "held": "it is pending, and does not start before the hold ends",
    "released": "it is pending, and this hold keeps it from starting no more",
    "denied": "a rule of the master does not allow this for this request; nothing was done to it",
    "left_out": "it was not included; `msg` says why, such as that its scheduler failed",
    "failed": "it was not done; `msg` may say why",
    "would_create": "in a plan: a request would be created; its `request_id` is null",
    "would_cancel": "in a plan: it is pending and would be cancelled",
    "would_stop": "in a plan: its build is running and would be stopped",
    "would_reprioritize": "in a plan: it would have the new priority",
    "would_hold": "in a plan: it is pending and would be held",
    "would_release": "in a plan: it is pending and would be held no more",
}

HEAD = """\
# API reference

<!-- Made by `python -m docs.generate` from the declared routes: change those, then run it. -->

Paths are those of the default configuration; `util.SelfServe(path=...)` changes their first part.
A slash inside a name is written `%2F`: the branch `feature/x` is `/self-serve/feature%2Fx`.
A branch called `api`, `branches`, `goto`, `jobs`, `metrics`, `openapi.json`, `pending` or `search`
has all pages but that of its day.
A request id is the id of a Buildbot build request, a job id that of a job request in the journal.
Times are whole epoch seconds.

## Routes

{routes}

A running master documents itself, too: `/self-serve/api` is a page of its routes, and
`/self-serve/openapi.json` the same for tools.

## Answers

An answer is JSON or a page. `?format=json` and `?format=html` decide; without them the answer is
JSON if the `Accept` header includes `application/json`, and a page otherwise. A job request whose
`Accept` includes `text/html`, as that of browsers does, is answered with 303 instead of a page.

In `/self-serve/openapi.json` the default of `format` is `json`, for generated clients: many send
`Accept: */*`. Those that leave defaults out, such as `openapi-fetch` with `openapi-typescript`,
need the header `Accept: application/json`.

A parameter that does not exist is ignored, unless its name is like that of one that does, such as
`dryrun` or `builder`: that is 400, and nothing is done.

{statuses}

From 400 on, the JSON is `{"status": "FAILED", "msg": ...}`, often with a `detail` that says what
would be right. A 503 may also carry `job_id` and `job_url`: that job request has started, and
the journal shows how it ends.

Every existing path accepts `OPTIONS`. Scripts of the sites that the master allows may read
every answer ([operators.md](operators.md#requests-from-other-sites)).

## Headers

Request headers:

{sent}

Response headers:

{answered}

## Credentials

A job request needs a user. A read needs one only where the rules of the master say so. The
credentials that a master accepts depend on its configuration
([operators.md](operators.md#who-is-asking)):

{credentials}

A proxy in front of the master may require others, and pass your name on. When the credentials in
`Authorization` are wrong, nothing else is tried: the answer is 401, also to a read that needs no
user.

## Sending again

After a lost connection, and after some 503 answers, you cannot know whether a job request was done.
Give it an `Idempotency-Key`, and send it again with the same key: it is done once. The key is a
text of 1 to 256 characters without control characters, a different one for each job request.

- The same key with the same content is answered with the receipt of the first, and nothing is done
  again. The receipt is as the journal has it by then: `stop_sent` may have become `stopped`.
- The content is the method, the path and the parameters, whether they come as a form or as JSON.
  The same key with another content is 422.
- Each user and each token has its own keys. Masters that share a journal share the keys.
- While the first is still being done, the second waits for it. If that takes longer than the master
  waits (10 seconds, unless it is configured otherwise), it is 503 with the `job_id` of the first.
- A key is kept with its row in the journal. It is free again when that row is deleted, which
  happens only where `keep_jobs` is configured, and when nothing came of the job request: it was
  refused, it failed for every build request, or it had no build request.

Without a key, what is sent twice is done twice.

## Verdicts

The **latest result** of a builder at a revision is that of the newest of its builds there that
ended with success, warnings, a failure or an exception. What was cancelled or skipped only counts
if there is no such build, and what Buildbot tried again (RETRY) never does. Builds with a patch on
top, as from a try scheduler, are not builds of the revision.

The `verdict` of a revision, in `is_done`, `health` and `pushes`:

| Verdict | Meaning |
|---|---|
| `pending` | builds are pending, and none is running; or nothing was requested yet |
| `running` | a build is running, or about to start |
| `passed` | the latest result of each builder is a success, with or without warnings |
| `failed` | the latest result of some builder is a failure or an exception |
| `incomplete` | nothing failed, but some builder has only cancelled or skipped builds or requests |

A scheduler may build several pushes at once, at the newest. `built_with` of the others is that
push, and their verdict is `incomplete` if nothing was requested for them.

The `state` of a builder is its latest result, `passed`, `warnings`, `failed` or `exception`; or
`cancelled` or `skipped` if it has none. It is `running` or `pending` while that is so, whatever it
had before. In `health` it is `missing` if a scheduler would build the revision with it, and nobody
has requested that; the verdict and the pushes leave these out.

The `change` of a builder compares its latest result, also while it builds again:

| Change | Meaning |
|---|---|
| `regressed` | it passed before, and fails here |
| `still_failing` | it failed before, too |
| `fixed` | it failed before, and passes here |
| `passing` | it passed before, too |
| `flaky` | it has both passed and failed here |
| `new` | it has no result at any of the 50 revisions before |
| `unknown` | it has no result here, or none at `base` |

*Before* is the nearest earlier revision of the branch where this builder has a result, or the one
that `base` names. Each builder has its own: `base_revision`, and `distance` says how many
revisions earlier. If Buildbot knows the commits (its pollers have `codebase=`), first parents
decide which revisions are earlier; otherwise the order of the changes on the branch and in the
codebase. What was only built by hand is not a base, unless the branch has no changes at all.

A **push** is a revision with a change. A revision that was only built by hand is listed, too: it
has no `author`, and stands where its first request was made.

## Reads

Every GET also takes HEAD, and this parameter:

{format}
"""

JOB_REQUESTS_HEAD = """\
## Job requests

A job request changes something, and needs a user who may do that ([operators.md](operators.md)
says how Buildbot's rules are asked). Parameters go into the body: a form, `multipart/form-data` or
a JSON object. A form sent with POST may set a field `_method` to `PUT` or `DELETE`. The
largest `count` is `max_count` of the configuration.

The answer is a receipt, once the work has been done. It is a [JSON object](#receipt): `status`,
`msg`, `job_id` (also as `request_id`), `job_url`, `completed_at`, `requests` and `buildset_ids`.
Each of `requests` is a build request with its `outcome`, read from the database after the act:

{outcomes}
`status` is "OK", or "FAILED" when something of it was not done: a request is `failed`, one that was
to be cancelled is `waiting`, there are fewer builds than were asked for, or the job request was cut
short. What is `denied`, `left_out` or `stop_sent` does not make it so. The status of HTTP is 202 in
any case. What was refused before anything was done has no receipt, but an answer from 400 on.

### Dry runs

With `dry_run=1` in the query or the body, any job request answers 200 and a
[plan](#plannedreceipt): what its receipt would be, with outcomes such as `would_create`, and the
text `plan`. Nothing is written. What the job request would be refused with, the dry run is refused
with, too.

Send that text back as `if_plan`, and the job request is done only if the plan is still that one.
If it is not, the answer is 412 with the plan of now, and nothing is done. Buttons of the pages
with more than one target work like this.

### Selectors

`builders`, `tags` and `exclude_builders` select some of the builders. Each is a list of names or
shell patterns (`*`, `?`, `[...]`): a field that is repeated, a JSON list, or a text with one a
line. If several are given, a builder must fit all of them. A pattern that matches nothing is 400.
Each list has at most 1,000 names and patterns, 100 of them with `*`, `?` or `[` in them. `[*]`,
`[?]` and `[[]` stand for these characters themselves.

### Properties as rows

A form may send `properties` as rows in place of JSON: `property_name` and `property_value`, once
for each row. A value that is JSON is taken as JSON, and any other value as text. `property_remove`
names a property to remove. With `property_before` in each row, a row whose value is the same as
before says nothing; a new row has an empty one. """

VALUES_HEAD = """\
## Values

What the routes answer with, as JSON. More members may come; a client must not mind.
"""
