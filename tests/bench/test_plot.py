"""Plots are XML, and say what they are given."""

from xml.etree import ElementTree

from plot import Line, bars, lines


def test_a_curve_has_a_point_for_each_value() -> None:
    plot = ElementTree.fromstring(lines("Sends & more", "x", "y", [Line("one", [(10, 5), (1_000, 7)])]))
    circles = [element for element in plot.iter() if element.tag.endswith("circle")]
    assert [round(float(circle.get("cx", "0"))) for circle in circles] == [70, 490]
    heights = [float(circle.get("cy", "0")) for circle in circles]
    assert heights[0] > heights[1], "more is further up"


def test_a_bar_is_as_high_as_its_median() -> None:
    plot = ElementTree.fromstring(bars("t", "y", ["a", "b"], {"s": [(1, 2, 3), (2, 4, 5)]}))
    rects = [float(element.get("height", "0")) for element in plot.iter() if element.tag.endswith("rect")]
    assert rects[1] == 2 * rects[0]
