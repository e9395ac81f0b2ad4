"""JSON or a page: what the query says, and what the Accept header says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import Site
from buildbot_selfserve.web import questions as web_questions
from buildbot_selfserve.web.negotiation import MOST_FIELDS
from buildbot_selfserve.web.negotiation import accepted_form
from buildbot_selfserve.web.negotiation import form_of
from buildbot_selfserve.web.negotiation import is_browser
from buildbot_selfserve.web.negotiation import query_of

#: What Firefox sends.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def request(query: str = "", accept: str | None = None) -> Request:
    made = Request(DummyChannel())
    made.method, made.uri = b"GET", f"/self-serve{query}".encode("latin-1")
    if accept is not None:
        made.requestHeaders.addRawHeader("Accept", accept.encode("latin-1"))
    return made


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "html"),
        ("", "html"),
        ("*/*", "html"),
        (BROWSER, "html"),
        ("text/html", "html"),
        ("text/plain", "html"),
        ("application/*", "html"),
        ("application/json", "json"),
        ("Application/JSON", "json"),
        ("application/json; charset=utf-8", "json"),
        ("application/json;q=0.1", "json"),
        ("application/json;q=0.001", "json"),
        ("text/html, application/json", "json"),
        ("application/json, text/javascript, */*; q=0.01", "json"),
        ("application/json;q=0", "html"),
        ("application/json; q=0.000, text/html", "html"),
        ("application/jsonp", "html"),
        ("application/json-seq", "html"),
        ("xapplication/json", "html"),
        (";,;=,,", "html"),
        ("\xff", "html"),
    ],
)
def test_the_accept_header_decides_the_form(accept: str | None, form: str) -> None:
    assert accepted_form(request(accept=accept)) == form
    assert form_of(request(accept=accept), {}) == form


@pytest.mark.parametrize("accept", [None, "*/*", BROWSER, "application/json", "text/html;q=0"])
@pytest.mark.parametrize("form", ["json", "html"])
def test_the_query_decides_before_the_accept_header(accept: str | None, form: str) -> None:
    assert form_of(request(accept=accept), {"format": form}) == form


@pytest.mark.parametrize(("accept", "form"), [(BROWSER, "html"), ("application/json", "json")])
def test_an_empty_format_is_none(accept: str, form: str) -> None:
    assert form_of(request(accept=accept), {"format": ""}) == form


@pytest.mark.parametrize("form", ["xml", "JSON", "json ", "html,json", "true"])
def test_another_format_is_refused(form: str) -> None:
    with pytest.raises(BadParameter) as refusal:
        form_of(request(accept="application/json"), {"format": form})
    assert (refusal.value.msg, refusal.value.detail) == (
        "Bad format",
        "format must be json or html",
    )


@pytest.mark.parametrize(
    ("accept", "browser"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("application/json, text/html", True),
        ("TEXT/HTML; charset=utf-8", True),
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("text/html;q=0", False),
    ],
)
def test_a_browser_is_known_by_asking_for_pages(accept: str | None, browser: bool) -> None:
    assert is_browser(request(accept=accept)) is browser


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("?", {}),
        ("?date=2024-01-01&format=json", {"date": "2024-01-01", "format": "json"}),
        ("?format=", {"format": ""}),
        ("?format", {"format": ""}),
        ("?format=html&format=json", {"format": ("html", "json")}),
        ("?a=1&b=2&a=&a=1", {"a": ("1", "", "1"), "b": "2"}),
        ("?who=a+b%20c", {"who": "a b c"}),
        ("?who=%C3%A4", {"who": "ä"}),
        ("?who=a%26b%3Dc", {"who": "a&b=c"}),
        ("?who=a?b", {"who": "a?b"}),
        ("?a%5Bb%5D=1", {"a[b]": "1"}),
        ("?&&who=x&", {"who": "x"}),
    ],
)
def test_a_query_is_read(query: str, values: dict[str, Any]) -> None:
    assert query_of(request(query)) == values


@pytest.mark.parametrize(
    ("query", "form"),
    [("format=html&format=json", "json"), ("format=xml&format=html", "html")],
)
def test_of_several_formats_the_last_counts(query: str, form: str) -> None:
    made = request(f"?{query}")
    assert form_of(made, query_of(made)) == form


@pytest.mark.parametrize("query", ["?who=%FF", "?%E4=1", "?" + "a=1&" * (MOST_FIELDS + 1)])
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(BadParameter) as refusal:
        query_of(request(query))
    assert (refusal.value.msg, refusal.value.detail) == (
        "Bad query",
        f"query must be UTF-8 with at most {MOST_FIELDS} parameters",
    )


def test_as_many_parameters_as_allowed_are_read() -> None:
    query = "&".join(f"a{number}=1" for number in range(MOST_FIELDS))
    assert len(query_of(request("?" + query))) == MOST_FIELDS


#: What Twisted lets through in a request line: printable ASCII.
@given(query=st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)]))
def test_any_query_is_texts_by_name_or_refused(query: str) -> None:
    try:
        values = query_of(request("?" + query))
    except BadParameter:
        return
    for name, value in values.items():
        "".join((name, *value)).encode()


@given(accept=st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n")))
def test_any_accept_header_has_a_form(accept: str) -> None:
    assert accepted_form(request(accept=accept)) in ("json", "html")


def test_a_question_in_the_same_words_is_known_until_a_reconfig() -> None:
    questions: Any = web_questions.RememberedQuestions()
    first, second = Site("self-serve", "http://a/"), Site("self-serve", "http://a/")
    questions.keep(first, (b"/self-serve/main",), "question")
    questions.keep(first, None, "of somebody in particular")
    assert questions.get(first, (b"/self-serve/main",)) == "question"
    assert questions.get(first, None) is None
    assert questions.get(second, (b"/self-serve/main",)) is None
    questions.keep(second, (b"/self-serve/main", b"x" * web_questions.LONGEST_REMEMBERED), "long")
    assert (
        questions.get(second, (b"/self-serve/main", b"x" * web_questions.LONGEST_REMEMBERED))
        is None
    )
    for number in range(web_questions.MOST_REMEMBERED):
        questions.keep(first, (b"/%d" % number,), "another")
    assert questions.get(first, (b"/self-serve/main",)) is None
