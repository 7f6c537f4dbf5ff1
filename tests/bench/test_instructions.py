"""Whether callgrind's output is read right."""

from instructions import parse

PROFILE = """\
version: 1
events: Ir

fl=(1) a.rs
fn=(1) one
10 5
+2 7
cfn=(2) two
calls=3 20
* 100
fn=(2)
20 90
cfn=(2)
calls=1 20
21 10
"""


def test_costs_and_calls_are_of_their_functions() -> None:
    profile = parse(PROFILE.splitlines())
    assert profile.own == {"one": 12, "two": 90}
    assert profile.whole == {"one": 112, "two": 90}, "what a function calls of itself is in it already"
    assert profile.calls == {"two": 4}
