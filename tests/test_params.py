"""Parameters: from text to value, or a message that names the parameter."""

from __future__ import annotations

import datetime
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from buildbot.process.build import Build
from hypothesis import given
from hypothesis import strategies as st

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import trimmed
from buildbot_selfserve.params import declared
from buildbot_selfserve.params import property_rows
from buildbot_selfserve.params.kinds import LAST_MOMENT
from buildbot_selfserve.params.kinds import Choice
from buildbot_selfserve.params.kinds import Date
from buildbot_selfserve.params.kinds import Int
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.params.kinds import Text
from buildbot_selfserve.params.kinds import parse_all
from buildbot_selfserve.params.misspelled import refuse_misspelled
from buildbot_selfserve.params.texts import PLAIN
from buildbot_selfserve.params.texts import is_plain
from buildbot_selfserve.resources import ROUTES

INT = Int("n", "A number.", minimum=-5, maximum=100)
LIMITED = Int("n", "A number.", minimum=1, maximum="most")
DATE = Date("n", "A day.")
TEXT = Text("n", "A text.", longest=5)
CHOICE = Choice("n", "A word.", choices=("json", "html"))

LIMITS = {"most": 7}
#: What JSON may hold, and no parameter takes.
NO_ITEMS: list[Any] = []
NO_FIELDS: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("param", "raw", "value"),
    [
        (INT, "42", 42),
        (INT, 42, 42),
        (INT, "-5", -5),
        (INT, -5, -5),
        (INT, "+1", 1),
        (INT, " 1 ", 1),
        (INT, "007", 7),
        (INT, "100", 100),
        (INT, "0", 0),
        (LIMITED, "7", 7),
        (LIMITED, 1, 1),
        (DATE, "2024-02-29", datetime.date(2024, 2, 29)),
        (DATE, "1970-01-01", datetime.date(1970, 1, 1)),
        (DATE, "9998-12-31", datetime.date(9998, 12, 31)),
        (TEXT, "ab cd", "ab cd"),
        (TEXT, "näïve", "näïve"),
        (TEXT, "\U0001f600", "\U0001f600"),
        (CHOICE, "json", "json"),
        (CHOICE, "html", "html"),
    ],
)
def test_a_good_value_is_taken(param: Param, raw: Any, value: Any) -> None:
    parsed = param.parse(raw, LIMITS)
    assert (type(parsed), parsed) == (type(value), value)


WHOLE = "n must be a whole number from -5 to 100"
DAY = "n must be a day as YYYY-MM-DD, from 1970 on"
SHORT = "n must be at most 5 characters long, without control characters"
WORD = "n must be json or html"


@pytest.mark.parametrize(
    ("param", "raw", "detail"),
    [
        *(
            (INT, raw, WHOLE)
            for raw in (
                "-6",
                "101",
                101,
                "one",
                "1.0",
                1.0,
                1.5,
                "1e1",
                "0x1",
                "1 2",
                "1_0",
                "--1",
                "",
                " ",
                "\N{ARABIC-INDIC DIGIT THREE}",
                "\N{FULLWIDTH DIGIT ONE}",
                "1\x00",
                "\N{EM SPACE}1",
                "9" * 20,
                "9" * 5000,
                10**100,
                float("nan"),
                float("inf"),
                True,
                False,
                None,
                NO_ITEMS,
                [1],
                NO_FIELDS,
                {"n": 1},
            )
        ),
        (LIMITED, "8", "n must be a whole number from 1 to 7"),
        (LIMITED, 0, "n must be a whole number from 1 to 7"),
        *(
            (DATE, raw, DAY)
            for raw in (
                "2024-02-30",
                "2023-02-29",
                "1969-12-31",
                "9999-01-01",
                "0000-01-01",
                "20240101",
                "2024-W01-1",
                "2024-1-1",
                "2024-01-01T00:00",
                " 2024-01-01",
                "2024-01-01\n",
                "202\N{ARABIC-INDIC DIGIT FOUR}-01-01",
                "today",
                "",
                20240101,
                True,
                None,
                ["2024-01-01"],
                NO_FIELDS,
            )
        ),
        *((TEXT, raw, SHORT) for raw in ("abcdef", "a\nb", "\x00", "\x7f", "a\x85b", "\ud800")),
        *((TEXT, raw, SHORT) for raw in (1, 1.5, True, None, NO_ITEMS, NO_FIELDS)),
        *(
            (CHOICE, raw, WORD)
            for raw in ("xml", "JSON", " json", "", 0, None, True, ["json"], NO_FIELDS)
        ),
    ],
)
def test_a_bad_value_names_the_parameter_and_what_would_be_right(
    param: Param, raw: Any, detail: str
) -> None:
    with pytest.raises(BadParameter) as refusal:
        param.parse(raw, LIMITS)
    assert (refusal.value.msg, refusal.value.detail) == ("Bad n", detail)


@pytest.mark.parametrize(
    ("param", "raw", "msg"),
    [
        (declared.PRIORITY, "high", "Bad priority"),
        (declared.COUNT, "0", "Bad count"),
        (declared.COUNT, "8", "Bad count"),
        (declared.BUILD_ID, "0", "Bad build_id"),
        (declared.STABLE_DELAY, "3m", "Bad stableDelay"),
        (declared.STABLE_DELAY, "-1", "Bad stableDelay"),
        (declared.DATE, "yesterday", "Bad date"),
        (declared.NUM, "0", "Bad num"),
        (declared.NUM, "10001", "Bad num"),
        (declared.OFFSET, "-1", "Bad offset"),
        (declared.WHO, "w" * 257, "Bad who"),
        (declared.SINCE, "yesterday", "Bad since"),
        (declared.UNTIL, str(LAST_MOMENT + 1), "Bad until"),
        (declared.FORMAT, "xml", "Bad format"),
    ],
)
def test_the_message_is_what_clients_rely_on(param: Param, raw: str, msg: str) -> None:
    with pytest.raises(BadParameter) as refusal:
        parse_all((param,), {param.name: raw}, {"max_count": 7})
    assert refusal.value.msg == msg


@pytest.mark.parametrize(
    ("param", "value"),
    [
        (declared.PRIORITY, 2**31 - 1),
        (declared.PRIORITY, -(2**31)),
        (declared.COUNT, 7),
        (declared.BUILD_ID, 2**31 - 1),
        (declared.STABLE_DELAY, 0),
        (declared.SINCE, LAST_MOMENT),
    ],
)
def test_the_outermost_values_are_taken(param: Param, value: int) -> None:
    given = {param.name: str(value)}
    assert parse_all((param,), given, {"max_count": 7}) == {param.name: value}


@pytest.mark.parametrize("beyond", [2**31, -(2**31) - 1])
def test_a_priority_that_no_database_holds_is_refused(beyond: int) -> None:
    with pytest.raises(BadParameter, match="Bad priority"):
        declared.PRIORITY.parse(beyond, {})


@pytest.mark.parametrize("given", [{}, {"priority": ""}, {"priority": None}, {"other": "1"}])
def test_what_is_empty_is_absent_and_has_its_default(given: dict[str, Any]) -> None:
    assert parse_all((declared.PRIORITY,), given, {}) == {"priority": 0}


@pytest.mark.parametrize(
    ("param", "default"),
    [(declared.COUNT, 1), (declared.STABLE_DELAY, 180), (declared.NUM, 100), (declared.OFFSET, 0)],
)
def test_the_defaults_are_those_of_the_contract(param: Param, default: int) -> None:
    assert parse_all((param,), {}, {}) == {param.name: default}


@pytest.mark.parametrize("given", [{}, {"build_id": ""}, {"build_id": None}])
def test_what_is_required_cannot_be_missing(given: dict[str, Any]) -> None:
    with pytest.raises(BadParameter) as refusal:
        parse_all((declared.BUILD_ID,), given, {})
    assert (refusal.value.msg, refusal.value.detail) == ("Bad build_id", "build_id must be given")


@pytest.mark.parametrize("raw", [("1", "2"), ("x", "3"), ("", "1", "2")])
@pytest.mark.parametrize("param", [declared.PRIORITY, declared.BUILD_ID, declared.DRY_RUN])
def test_what_has_one_value_is_given_once(param: Param, raw: Any) -> None:
    with pytest.raises(BadParameter, match=f"Bad {param.name}") as refusal:
        parse_all((param,), {param.name: raw}, {})
    assert refusal.value.detail == f"{param.name} must be given once"


@pytest.mark.parametrize(
    ("raw", "value"), [(("1", "1"), 1), (("1", ""), 1), (("", "2"), 2), (("", ""), 0)]
)
def test_empty_and_equal_fields_are_no_second_value(raw: Any, value: int) -> None:
    assert parse_all((declared.PRIORITY,), {"priority": raw}, {}) == {"priority": value}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (('["a"]', '["b", "c"]'), ["a", "b", "c"]),
        (('["a"]', '["a"]', ""), ["a"]),
        (("", ""), None),
    ],
)
def test_a_list_in_json_may_be_given_in_parts(raw: Any, value: Any) -> None:
    assert parse_all((declared.FILES,), {"files": raw}, {}) == {"files": value}


@pytest.mark.parametrize("raw", [('["a"]', "b"), ('["a"]', "{}"), ('["a"]', '[""]')])
def test_each_part_of_a_list_is_one(raw: Any) -> None:
    with pytest.raises(BadParameter, match="Bad files"):
        parse_all((declared.FILES,), {"files": raw}, {})


# -- lists


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("linux*", ("linux*",)),
        ("linux*\nmac", ("linux*", "mac")),
        (" linux* \r\n\r\n\tmac\n", ("linux*", "mac")),
        ("a\rb", ("a", "b")),
        ("a, b", ("a, b",)),
        (["linux*", " mac "], ("linux*", "mac")),
        (["a", "", "a"], ("a",)),
        (("a", "b", "a"), ("a", "b")),
        (("a\nb", "", "c"), ("a", "b", "c")),
        ('["a", "b"]', ("a", "b")),
        (('["a", "b"]', "c"), ("a", "b", "c")),
        ("[ab]*", ("[ab]*",)),
        ("[1]", ("[1]",)),
        ('["a", 1]', ('["a", 1]',)),
        ("[", ("[",)),
        ("[!", ("[!",)),
        ("**", ("**",)),
        ("x" * 256, ("x" * 256,)),
        ("\n".join(map(str, range(100))), tuple(map(str, range(100)))),
        (list(map(str, range(100))), tuple(map(str, range(100)))),
        (tuple(map(str, range(100))), tuple(map(str, range(100)))),
    ],
)
def test_patterns_come_as_lines_as_repeated_fields_or_as_json(raw: Any, value: Any) -> None:
    assert parse_all((declared.BUILDERS,), {"builders": raw}, {}) == {"builders": value}


@pytest.mark.parametrize("raw", ["", " ", "\n", " \r\n ", ("", " \n"), None])
@pytest.mark.parametrize("param", [declared.BUILDERS, declared.STATES])
def test_a_list_of_nothing_but_blanks_is_absent(param: Param, raw: Any) -> None:
    assert parse_all((param,), {param.name: raw}, {}) == {param.name: param.default}


@pytest.mark.parametrize(
    "raw",
    [
        "x" * 257,
        "a\tb",
        "a\x00",
        "a\x85b",
        "\ud800",
        ["a\nb"],
        ["a", 1],
        ["a", None],
        ["a", ["b"]],
        [["a"]],
        [{}],
        {},
        {"a": "b"},
        1,
        True,
        1.5,
        # a script whose list comes out empty does not mean everything
        [],
        ["", " "],
        "[]",
        '[""]',
        "\n".join(map(str, range(1001))),
        "a\n" * 10_000,
        ["a"] * 10_000,
        ("a",) * 1001,
        ("a", "b" * 257),
        ("a", "b\n" * 2000),
        ("a", "\n" * 2000),
    ],
)
def test_what_is_no_list_of_patterns_is_refused(raw: Any) -> None:
    with pytest.raises(BadParameter) as refusal:
        parse_all((declared.TAGS,), {"tags": raw}, {})
    assert (refusal.value.msg, refusal.value.detail) == (
        "Bad tags",
        "tags must be a list of 1 to 1000 names or shell patterns, each of at most 256"
        " characters, without control characters",
    )


@pytest.mark.parametrize("raw", [[], "[]", [""], ("[]", "")])
def test_nothing_can_be_left_out(raw: Any) -> None:
    given = {"exclude_builders": raw}
    assert parse_all((declared.EXCLUDE_BUILDERS,), given, {}) == {"exclude_builders": ()}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("retry", ("retry",)),
        ("retry, failure", ("failure", "retry")),
        ("retry\r\nfailure,,failure\n", ("failure", "retry")),
        (["cancelled", " warnings "], ("warnings", "cancelled")),
        (("retry", "failure"), ("failure", "retry")),
        (("retry,failure", "exception"), ("failure", "exception", "retry")),
        ('["exception", "failure"]', ("failure", "exception")),
    ],
)
def test_words_have_one_order_and_stand_there_once(raw: Any, value: Any) -> None:
    assert parse_all((declared.STATES,), {"states": raw}, {}) == {"states": value}


@pytest.mark.parametrize(
    "raw",
    [
        "success",
        "Failure",
        "failure warnings",
        "failure;retry",
        "failure,x",
        ["failure", "x"],
        ["failure,retry"],
        ["failure", 2],
        [["failure"]],
        [],
        "[]",
        "[" * 2000,
        2,
        True,
        {"failure": True},
        "\ud800",
    ],
)
def test_another_word_is_refused_with_the_choices(raw: Any) -> None:
    with pytest.raises(BadParameter) as refusal:
        parse_all((declared.STATES,), {"states": raw}, {})
    assert (refusal.value.msg, refusal.value.detail) == (
        "Bad states",
        "states must be one or more of failure, exception, warnings, cancelled, retry",
    )


def test_a_list_is_a_list_in_json_and_a_field_for_each_item_in_a_form() -> None:
    schema = declared.BUILDERS.schema()
    assert (schema["type"], schema["items"]["type"]) == ("array", "string")
    assert declared.BUILDERS.form_schema() == schema
    schema = declared.STATES.form_schema()
    assert schema["items"]["enum"] == ["failure", "exception", "warnings", "cancelled", "retry"]
    assert schema["default"] == ["failure", "exception"]


# -- what must not be taken for absent


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        *(("1", True), ("0", False), ("true", True), ("false", False), (("1", "1"), True)),
        *((1, True), (True, True), (0, False), (False, False)),
    ],
)
def test_a_dry_run_is_asked_for_with_a_few_words(raw: Any, value: bool) -> None:
    assert parse_all((declared.DRY_RUN,), {"dry_run": raw}, {}) == {"dry_run": value}


@pytest.mark.parametrize(
    "raw",
    [
        *("", " ", "yes", "2", "-1", "TRUE", "False", "1 ", "01", "1.0"),
        *(None, 1.0, 2, [], ["0"], {}, ("1", "0"), ("0", "1"), ("1", ""), ("", "0")),
    ],
)
def test_anything_else_is_no_dry_run_and_never_the_act(raw: Any) -> None:
    with pytest.raises(BadParameter, match="Bad dry_run"):
        parse_all((declared.DRY_RUN,), {"dry_run": raw}, {})


@pytest.mark.parametrize("raw", ["", " ", None, ("a", "b"), ("", "a"), 1, [], "x" * 257, "a\nb"])
def test_a_condition_that_is_none_is_refused(raw: Any) -> None:
    with pytest.raises(BadParameter, match="Bad if_plan"):
        parse_all((declared.IF_PLAN,), {"if_plan": raw}, {})


def test_generated_clients_say_nothing_of_a_plan_by_themselves() -> None:
    assert "default" not in declared.DRY_RUN.schema()
    assert declared.PATCHED.schema()["default"] == "0"


def test_who_says_nothing_of_a_plan_acts() -> None:
    values = parse_all((declared.DRY_RUN, declared.IF_PLAN), {}, {})
    assert values == {"dry_run": False, "if_plan": None}
    assert parse_all((declared.IF_PLAN,), {"if_plan": ("a ", "a ")}, {}) == {"if_plan": "a"}


# -- properties that change


@pytest.mark.parametrize("raw", ['{"a": null, "b": 1}', {"a": None, "b": 1}])
def test_a_property_can_be_null(raw: Any) -> None:
    param = declared.CHANGED_PROPERTIES
    assert parse_all((param,), {"properties": raw}, {}) == {"properties": {"a": None, "b": 1}}


@pytest.mark.parametrize("name", sorted(declared.RESERVED_PROPERTIES))
def test_a_reserved_property_cannot_be_taken_away(name: str) -> None:
    with pytest.raises(BadParameter, match="Bad properties") as refusal:
        declared.CHANGED_PROPERTIES.parse({name: None}, {})
    assert name in refusal.value.detail


@pytest.mark.parametrize("param", [declared.PROPERTIES, declared.CHANGED_PROPERTIES])
def test_there_are_not_too_many_properties(param: Any) -> None:
    every = {f"p{number}": None for number in range(201)}
    with pytest.raises(BadParameter, match="Bad properties") as refusal:
        param.parse(every, {})
    assert refusal.value.detail == "properties must be a JSON object of at most 200 properties"
    del every["p0"]
    assert param.parse(json.dumps(every), {}) == every


def test_all_that_makes_a_virtual_builder_is_reserved() -> None:
    ours = {value for name, value in vars(Build).items() if name.startswith("VIRTUAL_BUILDER")}
    assert len(ours) == 4
    assert ours <= declared.RESERVED_PROPERTIES


@pytest.mark.parametrize("given", [{"priority": 0}, {"priority": "0"}])
def test_zero_is_given_and_not_absent(given: dict[str, Any]) -> None:
    required = Int("priority", "How soon.", required=True)
    assert parse_all((required,), given, {}) == {"priority": 0}


@pytest.mark.parametrize(
    ("param", "schema"),
    [
        (INT, {"type": "integer", "minimum": -5, "maximum": 100}),
        (LIMITED, {"type": "integer", "minimum": 1}),
        (declared.COUNT, {"type": "integer", "minimum": 1, "default": 1}),
        (DATE, {"type": "string", "format": "date", "pattern": DATE.schema()["pattern"]}),
        (TEXT, {"type": "string", "maxLength": 5, "pattern": PLAIN}),
        (CHOICE, {"type": "string", "enum": ["json", "html"]}),
    ],
)
def test_a_parameter_knows_its_schema(param: Param, schema: dict[str, Any]) -> None:
    assert param.schema() == schema
    assert param.documented("query") == {
        "name": param.name,
        "in": "query",
        "required": False,
        "text": param.text,
        "schema": schema,
    }


@pytest.mark.parametrize("character", ["\x00", "\t", "\n", "\x1f", "\x7f", "\x9f", "\ud800"])
def test_a_text_that_some_database_cannot_hold_is_not_plain(character: str) -> None:
    assert not is_plain(f"a{character}b")


@pytest.mark.parametrize("character", [" ", "~", "\xa0", "é", "\ue000", "\U0001f600"])
def test_other_text_is_plain(character: str) -> None:
    assert is_plain(f"a{character}b")


# -- anything at all

ANYTHING = st.one_of(
    st.text(),
    st.text(alphabet="0123456789+-. \n"),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
)


# no parametrize beside given: pytest-twisted wraps a test of Hypothesis again for each set


def parsed(param: Param, raw: Any) -> Any:
    """Return the value of *raw*, ``None`` if it is refused as it should be."""
    try:
        return param.parse(raw, {})
    except BadParameter:
        return None


@given(raw=ANYTHING)
def test_anything_is_a_whole_number_or_a_bad_parameter(raw: Any) -> None:
    value = parsed(INT, raw)
    assert value is None or (type(value) is int and -5 <= value <= 100)


@given(raw=ANYTHING)
def test_anything_is_a_day_or_a_bad_parameter(raw: Any) -> None:
    value = parsed(DATE, raw)
    assert value is None or (type(value) is datetime.date and value.year >= 1970)


@given(raw=ANYTHING)
def test_anything_is_a_text_or_a_bad_parameter(raw: Any) -> None:
    value = parsed(TEXT, raw)
    assert value is None or (value == trimmed(raw) and len(value) <= 5 and is_plain(value))


@given(raw=ANYTHING)
def test_anything_is_one_of_the_choices_or_a_bad_parameter(raw: Any) -> None:
    assert parsed(CHOICE, raw) in (None, "json", "html")


@given(number=st.integers(-5, 100))
def test_every_whole_number_in_its_bounds_is_read_from_its_text(number: int) -> None:
    assert INT.parse(str(number), {}) == INT.parse(number, {}) == number


@given(day=st.dates(datetime.date(1970, 1, 1), datetime.date(9998, 12, 31)))
def test_every_day_is_read_from_its_text(day: datetime.date) -> None:
    assert DATE.parse(day.isoformat(), {}) == day


@given(raw=ANYTHING | st.lists(st.text()).map(tuple))
def test_anything_is_a_list_of_patterns_or_absent_or_a_bad_parameter(raw: Any) -> None:
    try:
        (value,) = parse_all((declared.TAGS,), {"tags": raw}, {}).values()
    except BadParameter:
        return
    assert len(value) == len(set(value)) <= 100
    assert all(item == trimmed(item) and 0 < len(item) <= 256 for item in value)
    assert all(map(is_plain, value))
    assert declared.TAGS.is_absent(raw) == (value == ())


@given(raw=ANYTHING | st.lists(st.text()).map(tuple))
def test_anything_is_some_of_the_choices_or_a_bad_parameter(raw: Any) -> None:
    try:
        (value,) = parse_all((declared.STATES,), {"states": raw}, {}).values()
    except BadParameter:
        return
    assert value
    assert set(value) <= set(declared.STATES.choices)


ITEMS = st.lists(st.text(alphabet='ab*?[]! ,"', min_size=1).filter(str.strip), min_size=1)


@given(items=ITEMS)
def test_a_list_is_the_same_in_json_and_in_repeated_fields(items: list[str]) -> None:
    value = parsed(declared.BUILDERS, items)
    assert parsed(declared.BUILDERS, tuple(json.dumps([item]) for item in items)) == value
    assert parsed(declared.BUILDERS, json.dumps(items)) == value


# -- properties as rows of a form

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(JSON)
def test_a_value_is_the_same_after_it_was_a_row(value: Any) -> None:
    text = property_rows.as_text(value)
    assert text
    # a browser takes line breaks out of a field, and turns lone surrogates into something else
    assert is_plain(text)
    if "Infinity" not in text:  # which is not JSON, and so it is text
        assert property_rows.as_value(text) == value


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=5))
def test_rows_that_nobody_touches_change_nothing(properties: dict[str, Any]) -> None:
    rows = property_rows.property_rows(properties).rows
    sent = sent_rows(*((name, text, text) for name, text in rows))
    assert property_rows.with_properties({**sent, "count": "1"}) == {"count": "1"}


def sent_rows(*rows: tuple[str, str, str], remove: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a form sends: names, values, and values before."""
    fields = ("property_name", "property_value", "property_before")
    sent: dict[str, Any] = dict(zip(fields, map(tuple, zip(*rows, strict=True)), strict=False))
    if len(rows) == 1:
        sent = {name: values[0] for name, values in sent.items()}
    return {**sent, "property_remove": remove} if remove else sent


@pytest.mark.parametrize(
    ("sent", "properties"),
    [
        (sent_rows(("a", "2", "1")), {"a": 2}),
        (sent_rows(("a", "", "1")), {"a": ""}),
        (sent_rows((" new ", "x", "")), {"new": "x"}),
        (sent_rows(("new", "", "")), {"new": ""}),
        (sent_rows(("a", "1", "1"), ("a", "2", "")), {"a": 2}),
        (sent_rows(("a", "1", "1"), ("b", "x", "y")), {"b": "x"}),
        (sent_rows(("a", "5", "1"), ("b", "x", "x"), remove=("a",)), {"a": None}),
        # a script need not say what was before
        ({"property_name": "a", "property_value": "1"}, {"a": 1}),
        ({"property_remove": "a"}, {"a": None}),
        ({"property_name": ["a"], "property_value": ["1"]}, {"a": 1}),
        # both
        ({**sent_rows(("a", "2", "1")), "properties": '{"b": 3}'}, {"a": 2, "b": 3}),
        ({**sent_rows(("a", "2", "1")), "properties": ("", '{"b": 3}')}, {"a": 2, "b": 3}),
    ],
)
def test_rows_are_what_they_change(sent: dict[str, Any], properties: dict[str, Any]) -> None:
    assert property_rows.with_properties(sent) == {"properties": properties}


def test_empty_rows_say_nothing() -> None:
    sent = {**sent_rows(("", "", ""), (" ", "", "")), "properties": ""}
    assert property_rows.with_properties(sent) == {"properties": ""}


@pytest.mark.parametrize(
    "sent",
    [
        sent_rows(("", "x", "")),
        sent_rows(("a", "1", ""), ("a", "2", "")),
        sent_rows(("a", "2", ""), remove=("a",)),
        {"property_name": "a"},
        {"property_value": ("1", "2"), "property_name": "a"},
        {"property_name": 3, "property_value": "1"},
        {"property_name": {"a": 1}, "property_value": "1"},
        {"property_remove": [None]},
        {**sent_rows(("a", "2", "1")), "properties": "[]"},
        {**sent_rows(("a", "2", "1")), "properties": '{"a": 2}'},
    ],
)
def test_rows_that_cannot_be_meant_are_refused(sent: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match="Bad properties"):
        property_rows.with_properties(sent)


def test_rows_have_room_in_a_body_and_reserved_names_are_left_out() -> None:
    properties = {f"p{number:04}": "ü" * 200 for number in range(300)}
    shown = property_rows.property_rows({**properties, "owner": "ada", "selfserve_job": 1})
    assert 10 < len(shown.rows) <= property_rows.MOST_ROWS
    assert len(shown.rows) + len(shown.left_out) == 300
    fields = [("property_name", name) for name, _ in shown.rows]
    fields += [
        (field, text) for field in ("property_value", "property_before") for _, text in shown.rows
    ]
    assert len(urlencode(fields)) < 60_000
    few = {f"p{number}": number for number in range(300)}
    assert len(property_rows.property_rows(few).rows) == property_rows.MOST_ROWS


# -- misspelled names


@pytest.mark.parametrize(
    "name",
    [
        "revision",
        "branch",
        "_method",
        "format",
        "update",
        "submit",
        "x" * 10_000,
        "dry_run\n",
        "",
        "-",
    ],
)
def test_a_name_that_is_like_no_parameter_is_ignored(name: str) -> None:
    parameters = ("same_revision", "date", "dry_run", "limit", "priority")
    refuse_misspelled([name], (), parameters)


def test_the_parameter_that_is_most_like_it_is_named() -> None:
    with pytest.raises(BadParameter, match="Bad Builder-names") as refused:
        refuse_misspelled(["Builder-names"], (), ("tags", "builders", "exclude_builders"))
    assert refused.value.detail == "there is no such parameter; did you mean builders?"


def test_no_route_takes_the_name_of_another_for_misspelled_but_for_the_same_thing() -> None:
    names = {name for route in ROUTES for name in route.meant_names}
    refused = set()
    for route in ROUTES:
        for name in names:
            try:
                refuse_misspelled([name], route.known_names, route.meant_names)
            except BadParameter as error:
                refused.add((name, error.detail.rpartition(" ")[2].rstrip("?")))
    assert refused == {
        ("build", "build_id"),
        ("build", "builders"),
        ("build_id", "build"),
        ("builder", "builder_name"),
        ("builder", "builders"),
        ("builder_name", "builder"),
        ("builder_name", "builders"),
        ("builders", "builder"),
        ("builders", "builder_name"),
        ("count", "times"),
        ("request", "request_id"),
        ("request_id", "request"),
        ("until", "expires"),
    }
