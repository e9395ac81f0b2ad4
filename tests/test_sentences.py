"""The sentences that users see stand in one file, to be read in one go."""

from __future__ import annotations

from tests import sentences


def test_every_sentence_is_listed_as_it_is_now() -> None:
    assert sentences.FILE.read_text("utf-8") == sentences.listed(), "run python -m tests.sentences"


def test_what_users_see_is_found_wherever_it_stands() -> None:
    listed = sentences.listed()
    for one in (
        "No build of this revision was requested. Builds may still come",  # a template
        "{...} must be {...}",  # an error that is put together
        "Return whether everything at this revision has ended",  # a route
        "selfserve --json: Print the server's JSON.",  # an option of the command
        "Create an API token for self-serve",  # another program
    ):
        assert one in listed
