"""What docs/api.md says beside what is made from the declared routes (``docs/generate.py``)."""

from __future__ import annotations

#: Headers that a request may have, of which requests, and what they mean.
SENT = (
    ("`Accept`", "all", "`application/json`, or what browsers send: see [Answers](#answers)"),
    ("`Accept-Encoding`", "reads", "with `gzip`, long answers are packed"),
    ("`Authorization`", "all", "who is asking: see [Credentials](#credentials)"),
    (
        "`Content-Type`",
        "job requests",
        "what the body is: `application/x-www-form-urlencoded`, which need not be said,"
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
        "the `ETag` of the answer that you have; if it is still the same, 304",
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
    ("`Location`", "301, 308", "the path without the slash at its end"),
    ("`Retry-After`", "429, 503", "after how many seconds to try again"),
    (
        "`WWW-Authenticate`",
        "401",
        "which credentials this master takes; not in answers to browsers",
    ),
)

#: How to say who one is.
CREDENTIALS = (
    (
        "`Authorization: Bearer TOKEN`",
        "an API token, which an operator has made",
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
    "created": "a new request, which waits or is being built already",
    "skipped": "a new request, which the master's own `collapseRequests` has collapsed",
    "cancelled": "it was pending and is cancelled",
    "stopped": "its build was running and has stopped",
    "stop_sent": "its build was told to stop, and has not yet; the journal tells how it ends",
    "waiting": "its build was about to start, and could not be stopped yet; the journal tells more",
    "already_complete": "it had ended before, or ended on its own; `msg` says how",
    "reprioritized": "it has the new priority",
    "denied": "a rule of the master does not let you do this to this one; nothing was done to it",
    "left_out": "it was not part of it; `msg` says why",
    "failed": "it was not done; `msg` may say why",
}

HEAD = """\
# API reference

<!-- Made by `python -m docs.generate` from the declared routes: change those, then run it. -->

Paths are those of the default configuration; `util.SelfServe(path=...)` changes their first part.
A slash inside a name is written `%2F`: the branch `feature/x` is `/self-serve/feature%2Fx`.
A branch called `branches`, `jobs`, `metrics` or `openapi.json` has all but the page of its day.
A request id is the id of a Buildbot build request, a job id that of a job request in the journal.
Times are whole epoch seconds.

## Answers

An answer is JSON or a page. `?format=json` and `?format=html` decide; without them the answer is
JSON if the `Accept` header includes `application/json`, and a page otherwise. A job request whose
`Accept` includes `text/html`, as that of browsers does, is answered with 303 instead of a page.

In `/self-serve/openapi.json` the default of `format` is `json`, for generated clients: many send
`Accept: */*`.

{statuses}

From 400 on, the JSON is `{"status": "FAILED", "msg": ...}`, often with a `detail` that says what
would be right. A 503 may also carry `job_id` and `job_url`: that job request was begun, and the
journal tells how it ends.

Every path that there is takes `OPTIONS`. Scripts of the sites that the master lets in may read
every answer ([operators.md](operators.md#requests-from-other-sites)).

## Headers

Those of requests:

{sent}

Those of answers:

{answered}

## Credentials

A job request needs a user. A read needs one only where the rules of the master say so. What a
master takes depends on its configuration ([operators.md](operators.md#who-is-asking)):

{credentials}

A proxy in front of the master may want others, and say who you are. When the credentials in
`Authorization` are wrong, nothing else is tried: a job request is 401, and so is a read that needs
a user.

## Sending again

A connection that was lost does not tell whether a job request was done, nor does every 503. Give it
an `Idempotency-Key`, and send it again with the same one: it is done once. The key is a text of 1
to 256 characters without control characters, another one for each thing that is to be done.

- The same key with the same content is answered with the receipt of the first, and nothing is done
  again. The receipt is as the journal has it by then: `stop_sent` may have become `stopped`.
- The content is the method, the path and the parameters, whether they come as a form or as JSON.
  The same key with another content is 422.
- Each user and each token has keys of their own. Masters that share a journal share the keys.
- While the first is still being done, the second waits for it. If that takes longer than the master
  waits (10 seconds, unless it is configured otherwise), it is 503 with the `job_id` of the first.
- A key is kept with its row in the journal, from which nothing is deleted. It is free again when
  nothing came of the job request: it was refused, it failed for every build request, or there was
  none to do it to.

Without a key, what is sent twice is done twice.

## Reads

Every GET also takes HEAD, and this parameter:

{format}
"""

JOB_REQUESTS_HEAD = """\
## Job requests

A job request changes something, and needs a user who may do that ([operators.md](operators.md)
says how Buildbot's rules are asked). Parameters go into the body: a form, `multipart/form-data` or
a JSON object. A form that is sent with POST may say `PUT` or `DELETE` in a field `_method`. The
largest `count` is `max_count` of the configuration.

The answer is a receipt, once the work has been done. It is a [JSON object](#receipt): `status`,
`msg`, `job_id` (also as `request_id`), `job_url`, `completed_at`, `requests` and `buildset_ids`.
Each of `requests` is a build request with its `outcome`, read from the database after the act:

{outcomes}
`status` is "OK", or "FAILED" when something of it was not done: a request is `failed`, one that was
to be cancelled is `waiting`, there are fewer builds than were asked for, or the job request was cut
short. What is `denied`, `left_out` or `stop_sent` does not make it so. The status of HTTP is 202 in
any case. What was refused before anything was done has no receipt, but an answer from 400 on.
"""

VALUES_HEAD = """\
## Values

What the routes answer with, as JSON. More members may come; a client must not mind.
"""
