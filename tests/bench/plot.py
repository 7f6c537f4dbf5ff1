"""Plots as SVG, with nothing but the standard library: lines over a logarithmic axis, and bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 50
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#4a5568}.title{font-weight:600;font-size:14px;fill:#2d3748}"
    ".grid{stroke:#cbd5e0;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#cbd5e0}.title{fill:#edf2f7}.grid{stroke:#4a5568}}"
)


@dataclass(frozen=True)
class Line:
    """A curve: its name, and points as (x, y)."""

    name: str
    points: list[tuple[float, float]]


def _number(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _ceiling(value: float) -> float:
    size = float(10 ** math.floor(math.log10(max(value, 1e-9))))
    return next(size * step for step in (1, 2, 2.5, 5, 10) if size * step >= value)


def _frame(title: str, y_label: str, top: float, body: list[str]) -> str:
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{TOP - 6}">{escape(y_label)}</text>',
    ]
    for step in range(5):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * step / 4
        rows.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        rows.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(round(top * step / 4, 6))}</text>')
    return "\n".join([*rows, *body, "</svg>"]) + "\n"


def lines(title: str, x_label: str, y_label: str, curves: list[Line]) -> str:
    """Curves over a logarithmic x axis; y begins at zero."""
    xs = sorted({x for curve in curves for x, _ in curve.points})
    top = _ceiling(max(y for curve in curves for _, y in curve.points))
    low, high = math.log10(max(xs[0], 1)), math.log10(max(xs[-1], 10))

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(max(x, 1)) - low) / max(high - low, 1e-9)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top

    body = []
    for x in xs:
        body.append(f'<text x="{place(x, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(x)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    body.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = [place(x, y) for x, y in curve.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        body.append(f'<text x="{WIDTH - RIGHT + 8}" y="{places[-1][1] + 4:.1f}" style="fill:{colour}">{escape(curve.name)}</text>')
    return _frame(title, y_label, top, body)


def bars(title: str, y_label: str, groups: list[str], series: dict[str, list[tuple[float, float, float]]]) -> str:
    """Bars of (least, median, most), one of each series in each group."""
    top = _ceiling(max(most for values in series.values() for _, _, most in values))
    height, width = HEIGHT - TOP - BOTTOM, (WIDTH - LEFT - RIGHT) / len(groups)
    bar = width * 0.8 / len(series)
    body = []
    for at, (name, values) in enumerate(series.items()):
        colour = COLOURS[at % len(COLOURS)]
        body.append(f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 16 + 18 * at}" style="fill:{colour}">{escape(name)}</text>')
        for number, (least, median, most) in enumerate(values):
            x = LEFT + number * width + width * 0.1 + at * bar
            y = [HEIGHT - BOTTOM - height * value / top for value in (least, median, most)]
            body.append(
                f'<rect x="{x:.1f}" y="{y[1]:.1f}" width="{bar * 0.9:.1f}" height="{HEIGHT - BOTTOM - y[1]:.1f}" fill="{colour}"/>'
            )
            middle = x + bar * 0.45
            body.append(f'<line class="grid" x1="{middle:.1f}" x2="{middle:.1f}" y1="{y[0]:.1f}" y2="{y[2]:.1f}"/>')
            body.append(f'<text x="{middle:.1f}" y="{y[2] - 4:.1f}" text-anchor="middle">{_number(float(f"{median:.3g}"))}</text>')
    for number, name in enumerate(groups):
        x = LEFT + (number + 0.5) * width
        body.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(name)}</text>')
    return _frame(title, y_label, top, body)
