"""Bodies of job requests: forms, multipart, JSON, and the method that a form means."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from buildbot_selfserve.errors import BadBody
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import TooLarge
from buildbot_selfserve.errors import WrongType
from buildbot_selfserve.params.declared import BUILDERS
from buildbot_selfserve.params.declared import TAGS
from buildbot_selfserve.web.request_body import FORM
from buildbot_selfserve.web.request_body import JSON
from buildbot_selfserve.web.request_body import LARGEST
from buildbot_selfserve.web.request_body import MOST_FIELDS
from buildbot_selfserve.web.request_body import MULTIPART
from buildbot_selfserve.web.request_body import body_of
from buildbot_selfserve.web.request_body import method_of
from buildbot_selfserve.web.request_body import received
from buildbot_selfserve.web.request_body import with_query

BOUNDED = f"{MULTIPART}; boundary=xyz"


def request(
    body: bytes, content_type: str | None, method: str = "POST", uri: bytes = b"/self-serve"
) -> Request:
    made = Request(DummyChannel())
    made.method, made.uri, made.content = method.encode(), uri, BytesIO(body)
    if content_type is not None:
        made.requestHeaders.addRawHeader("Content-Type", content_type.encode("latin-1"))
    return made


def read(body: bytes, content_type: str | None) -> dict[str, Any]:
    return whole(request(body, content_type))


def whole(made: Request) -> dict[str, Any]:
    return body_of(made, received(made))


def multipart(*parts: tuple[str, bytes]) -> bytes:
    """Return a body with *parts*, each the rest of its disposition and its content."""
    lines = [
        f"--xyz\r\nContent-Disposition: form-data; {rest}\r\n\r\n".encode() + content + b"\r\n"
        for rest, content in parts
    ]
    return b"".join([*lines, b"--xyz--\r\n"])


def fields(number: int) -> list[str]:
    return [f"field{index}" for index in range(number)]


# -- what is read


@pytest.mark.parametrize(
    ("body", "content_type", "values"),
    [
        (b"build_id=7&count=2", FORM, {"build_id": "7", "count": "2"}),
        (b"build_id=7", f"{FORM}; charset=UTF-8", {"build_id": "7"}),
        (b"build_id=7", FORM.upper(), {"build_id": "7"}),
        (b"priority=", FORM, {"priority": ""}),
        (b"priority", FORM, {"priority": ""}),
        (b"a=1&a=2", FORM, {"a": ("1", "2")}),
        (b"a=1&b=&a=&a=1", FORM, {"a": ("1", "", "1"), "b": ""}),
        (b"a=b+c%20d%26%3D", FORM, {"a": "b c d&="}),
        (b"a=%C3%A4", FORM, {"a": "ä"}),
        ("a=ä".encode(), FORM, {"a": "ä"}),
        (b"a=1;b=2", FORM, {"a": "1;b=2"}),
        (multipart(('name="a"', b"1"), ('name="b"', b"")), BOUNDED, {"a": "1", "b": ""}),
        (multipart(('name="a"', b"1"), ('name="a"', b"2")), BOUNDED, {"a": ("1", "2")}),
        (multipart(('name="a"', "ä\r\nb".encode())), BOUNDED, {"a": "ä\r\nb"}),
        (multipart(('name="a"', b"1")), f'{MULTIPART}; boundary="xyz"', {"a": "1"}),
        (b'{"build_id": 7, "count": "2"}', JSON, {"build_id": 7, "count": "2"}),
        (b'{"a": null, "b": [1, {"c": 1.5}]}', JSON, {"a": None, "b": [1, {"c": 1.5}]}),
        ('{"a": "ä"}'.encode(), f"{JSON}; charset=utf-8", {"a": "ä"}),
        (b" {} ", JSON, {}),
    ],
)
def test_a_good_body_is_read(body: bytes, content_type: str, values: dict[str, Any]) -> None:
    assert read(body, content_type) == values


@pytest.mark.parametrize("content_type", [None, FORM, BOUNDED, JSON, "text/plain", "nonsense"])
def test_no_body_has_no_parameters_whatever_its_type(content_type: str | None) -> None:
    assert read(b"", content_type) == {}


def test_a_body_can_be_read_twice() -> None:
    made = request(b"a=1", FORM)
    assert whole(made) == whole(made) == {"a": "1"}


def test_the_query_is_no_part_of_the_body() -> None:
    assert whole(request(b"a=1", FORM, uri=b"/self-serve?b=2")) == {"a": "1"}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_form_is_read_with_other_methods_than_post(method: str) -> None:
    assert whole(request(b"priority=5", FORM, method)) == {"priority": "5"}


# -- what is not


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=%FF", FORM),
        (b"a=\xff", FORM),
        (b"a=\xe4", f"{FORM}; charset=latin-1"),
        (multipart(('name="a"', b"\xff")), BOUNDED),
        (multipart(('name="a"; filename="evil.sh"', b"1")), BOUNDED),
        (multipart(('name="a"', b"1"))[:-8], BOUNDED),
        (multipart(('name="a"', b"1")), MULTIPART),
        (multipart(('name="a"', b"1")), f"{MULTIPART}; boundary=other"),
        (b"--xyz\r\nX: y\r\n\r\n1\r\n--xyz--\r\n", BOUNDED),
        (b"a=1", BOUNDED),
        (b"{", JSON),
        (b"a=1", JSON),
        (b"[]", JSON),
        (b'"text"', JSON),
        (b"null", JSON),
        (b"7", JSON),
        (b'{"a": 1} {}', JSON),
        (b"{'a': 1}", JSON),
        (b'{"a": "\xff"}', JSON),
        ('{"a": "ä"}'.encode("latin-1"), f"{JSON}; charset=latin-1"),
        ("{}".encode("utf-16"), JSON),
        (b"\xef\xbb\xbf{}", JSON),
        (b'{"a": NaN}', JSON),
        (b'{"a": Infinity}', JSON),
        (b'{"a": [-Infinity]}', JSON),
        (b'{"a": ' + b"9" * 5000 + b"}", JSON),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BadBody) as refusal:
        read(body, content_type)
    assert refusal.value.msg == f"The body is not valid {content_type.partition(';')[0]}"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_that_is_nested_too_deep_is_refused(opening: bytes) -> None:
    body = b'{"a": ' + opening * (60000 // len(opening))
    with pytest.raises(BadBody):
        read(body, JSON)


@pytest.mark.parametrize("content_type", [None, ""])
def test_a_body_of_no_type_is_a_form(content_type: str | None) -> None:
    assert whole(request(b"build_id=7", content_type)) == {"build_id": "7"}


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("text/plain", "text/plain"),
        ("application/xml", "application/xml"),
        ("application/jsonp", "application/jsonp"),
        ("application/vnd.api+json", "application/vnd.api+json"),
        ("multipart/mixed; boundary=xyz", "multipart/mixed"),
    ],
)
def test_a_body_of_another_type_is_refused(content_type: str | None, said: str) -> None:
    with pytest.raises(WrongType) as refusal:
        read(b"{}", content_type)
    assert refusal.value.msg == f"Bodies of type {said} are not supported"
    assert refusal.value.detail == f"send {FORM}, {MULTIPART} or {JSON}"


@pytest.mark.parametrize(
    "content_type",
    [
        "nonsense",
        "/",
        ";",
        "a/b; x*",
        "text/plain; é*",
        "\x00",
        "(" * 15000,
        f"{JSON}; x={'y' * 256}",
    ],
)
def test_a_type_that_is_none_is_refused(content_type: str) -> None:
    with pytest.raises(WrongType):
        read(b"{}", content_type)


@pytest.mark.parametrize("content_type", [FORM, BOUNDED, JSON, "text/plain", None])
def test_a_body_that_is_too_large_is_refused(content_type: str | None) -> None:
    with pytest.raises(TooLarge) as refusal:
        read(b"a" * (LARGEST + 1), content_type)
    assert refusal.value.detail == f"send at most {LARGEST} bytes"


def test_the_largest_body_is_read() -> None:
    assert read(b"a=" + b"1" * (LARGEST - 2), FORM) == {"a": "1" * (LARGEST - 2)}


def test_a_multipart_body_of_the_largest_size_is_read() -> None:
    room = LARGEST - len(multipart(('name="a"', b"")))
    body = multipart(('name="a"', b"1" * room))
    assert len(body) == LARGEST
    assert read(body, BOUNDED) == {"a": "1" * room}


def test_as_many_fields_as_allowed_are_read() -> None:
    names = fields(MOST_FIELDS)
    expected = dict.fromkeys(names, "1")
    assert read("&".join(f"{name}=1" for name in names).encode(), FORM) == expected
    assert read(multipart(*((f'name="{name}"', b"1") for name in names)), BOUNDED) == expected


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("&".join(f"{name}=1" for name in fields(MOST_FIELDS + 1)).encode(), FORM),
        (multipart(*((f'name="{name}"', b"1") for name in fields(MOST_FIELDS + 1))), BOUNDED),
    ],
    ids=["form", "multipart"],
)
def test_too_many_fields_are_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(BadBody):
        read(body, content_type)


# -- the method that is meant


@pytest.mark.parametrize("meant", ["PUT", "put", "Put", "DELETE", "delete", "POST", "post"])
def test_a_form_may_mean_another_method(meant: str) -> None:
    assert method_of(request(f"_method={meant}".encode(), FORM)) == meant.upper()


def test_a_multipart_form_may_mean_another_method() -> None:
    assert method_of(request(multipart(('name="_method"', b"DELETE")), BOUNDED)) == "DELETE"


def test_a_form_means_one_method() -> None:
    with pytest.raises(BadParameter, match="Bad _method") as refusal:
        method_of(request(b"_method=PUT&_method=DELETE", FORM))
    assert refusal.value.detail == "_method must be given once"
    assert method_of(request(b"_method=PUT&_method=put&_method=", FORM)) == "PUT"


def test_an_object_has_a_name_once() -> None:
    for body in (b'{"a": 1, "a": 2}', b'{"a": 1, "b": {}, "a": "1"}'):
        with pytest.raises(BadParameter, match="Bad a") as refusal:
            whole(request(body, JSON))
        assert refusal.value.detail == "a must be given once"
    assert whole(request(b'{"a": {"b": 1}, "a": {"b": 1}}', JSON)) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "meant", ["GET", "HEAD", "PATCH", "OPTIONS", "PUT ", "PUT,DELETE", "%00", "ß"]
)
def test_a_form_that_means_yet_another_method_is_refused(meant: str) -> None:
    with pytest.raises(BadParameter) as refusal:
        method_of(request(f"_method={meant}".encode(), FORM))
    assert (refusal.value.msg, refusal.value.detail) == (
        "Bad _method",
        "_method must be PUT or DELETE",
    )


@pytest.mark.parametrize(
    ("body", "content_type", "uri"),
    [
        (b"_method=", FORM, b"/self-serve"),
        (b"build_id=7", FORM, b"/self-serve"),
        (b"", FORM, b"/self-serve?_method=DELETE"),
        (b"build_id=7", FORM, b"/self-serve?_method=DELETE"),
        (b"", None, b"/self-serve?_method=DELETE"),
        (b'{"_method": "DELETE"}', JSON, b"/self-serve"),
        (b"_method=DELETE", "text/plain", b"/self-serve"),
    ],
)
def test_a_post_stays_a_post_unless_a_field_of_its_form_says_otherwise(
    body: bytes, content_type: str | None, uri: bytes
) -> None:
    assert method_of(request(body, content_type, uri=uri)) == "POST"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_only_a_post_may_mean_another_method(method: str) -> None:
    assert method_of(request(b"_method=POST", FORM, method)) == method


@pytest.mark.parametrize("body", [b"_method=%FF", b"_method=DELETE&" + b"a" * LARGEST])
def test_a_form_that_cannot_be_read_means_what_its_method_says(body: bytes) -> None:
    assert method_of(request(body, FORM)) == "POST"


@pytest.mark.parametrize("content_type", ["a/b; x*", "text/plain; é*"])
def test_a_type_that_is_none_does_not_change_the_method(content_type: str) -> None:
    assert method_of(request(b"_method=DELETE", content_type)) == "POST"


# -- what may stand in the query instead


def test_what_stands_in_the_query_is_taken_from_there() -> None:
    query = {"builders": ("a", "b"), "other": "x"}
    taken = with_query({"priority": 1}, query, (BUILDERS, TAGS))
    assert taken == {"priority": 1, "builders": ("a", "b")}
    assert with_query({"tags": ["x"]}, {}, (BUILDERS, TAGS)) == {"tags": ["x"]}


@pytest.mark.parametrize("in_body", ["a", "", None, ["a"]])
def test_what_stands_in_both_is_refused(in_body: Any) -> None:
    with pytest.raises(BadParameter) as refusal:
        with_query({"builders": in_body}, {"builders": "a"}, (BUILDERS,))
    assert refusal.value.msg == "Bad builders"


# -- anything at all

BODIES = st.one_of(
    st.binary(),
    st.binary().map(lambda content: multipart(('name="a"', content))),
    st.binary().map(lambda rest: b'--xyz\r\nContent-Disposition: form-data; name="a"' + rest),
    st.text().map(lambda text: json.dumps({text: text}).encode()),
    st.text(alphabet='{}[]",:0123456789.eE-+NaInfity \\u').map(str.encode),
    st.text(alphabet="ab=&%+;0F_method").map(str.encode),
)
TYPES = st.one_of(
    st.sampled_from([None, FORM, BOUNDED, MULTIPART, JSON, "text/plain"]),
    st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n")),
    st.text(alphabet="ab/;=*'\" ()\\%").map(lambda rest: f"{MULTIPART};{rest}"),
)


@given(body=BODIES, content_type=TYPES)
def test_any_bytes_of_any_type_are_values_by_name_or_a_refusal(
    body: bytes, content_type: str | None
) -> None:
    try:
        values = read(body, content_type)
    except SelfServeError:
        return
    assert all(isinstance(name, str) for name in values)


@given(body=BODIES, content_type=TYPES)
def test_any_bytes_of_any_type_mean_a_method_or_are_refused(
    body: bytes, content_type: str | None
) -> None:
    try:
        method = method_of(request(body, content_type))
    except BadParameter:
        return
    assert method in ("POST", "PUT", "DELETE")


@given(values=st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans()))
def test_what_was_sent_as_json_is_what_is_read(values: dict[str, Any]) -> None:
    assert read(json.dumps(values).encode(), JSON) == values
