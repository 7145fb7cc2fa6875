import pytest

from nnclip.errors import DataError
from nnclip.service import values

OTHERS = {
    "nothing": None, "true or false": True, "a number": 3, "a list": ["a"], "an object": {"a": 1},
    "a text": "a",
}  # fmt: skip


def test_what_has_the_right_type_stays_as_it_is():
    assert values.text("ein Hund\0", "x") == "ein Hund\0" and values.text(None, "x") == ""
    assert values.number(3, "x") == 3 and values.number(-0.5, "x") == -0.5
    assert [values.count(n, "x") for n in (-3, 2.9, 10**9)] == [1, 2, 60]
    assert [values.index(n, "x", 2) for n in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (values.text, {"a text", "nothing"}),
        (values.number, {"a number"}),
        (values.count, {"a number"}),
        (lambda value, name: values.index(value, name, 9), {"a number"}),
    ],
)
def test_other_types_are_named(check, right):
    for kind in OTHERS.keys() - right:
        with pytest.raises(DataError, match=f"^amount: found {kind}, expected a "):
            check(OTHERS[kind], "amount")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, 1e16])
def test_numbers_that_are_none_are_told(value):
    for check in (values.number, values.count):
        with pytest.raises(DataError, match=r"^amount: found .{1,60}, expected a number"):
            check(value, "amount")


@pytest.mark.parametrize("value", [-1, 2, 10**400, 1.0, True, "0"])
def test_a_place_beyond_the_list_is_told(value):
    with pytest.raises(DataError, match="expected a number from 0 to 1"):
        values.index(value, "index", 2)


def test_half_a_character_is_told():
    with pytest.raises(DataError, match="lone surrogate"):
        values.text("a\ud800b", "text")


def test_an_error_repeats_little():
    assert values.echo("<b>") == "'<b>'"
    assert len(values.echo("x" * 10**6)) == 60
