"""The plot: one row per contender, one column per figure, as an SVG that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from tests.bench.figures import Run, in_order, values
from tests.bench.tables import by_rank

#: Pixels.
MARGIN, LABELS, COLUMN, GAP = 24, 200, 182, 22
HEAD, ROW, BAR, FOOT = 74, 30, 15, 58
#: Room behind the longest bar for its number.
NUMBER = 52

#: Two lines: a font may be wider than the one here.
FOOTNOTE = (
    "One process each, a full queue; RabbitMQ, API and worker on the same cores. Lines from least to most.",
    "Lighter: CPU of PostgreSQL. The peers neither deduplicate nor keep an outbox.",
)
#: GitHub shows an SVG as an image, whose own media query decides; a background of its own keeps it readable
#: also where the page's theme is not the browser's.
STYLE = """
  .card { fill: #ffffff; stroke: #d1d9e0 }
  text { font: 12px -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 13px; font-weight: 600 }
  .note { font-size: 11px; fill: #59636e }
  .ours { font-weight: 600 }
  .bar { fill: #afb8c1 }
  .bar.ours { fill: #0969da }
  .database { fill: #d1d9e0 }
  .database.ours { fill: #80ccff }
  .span { stroke: #1f2328; stroke-width: 1; opacity: 0.55 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d }
    text { fill: #f0f6fc }
    .note { fill: #9198a1 }
    .bar { fill: #656c76 }
    .bar.ours { fill: #4493f8 }
    .database { fill: #3d444d }
    .database.ours { fill: #1f4b82 }
    .span { stroke: #f0f6fc }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One column."""

    regime: str
    figure: str
    title: str
    note: str
    unit: str
    digits: int
    #: The figure that is drawn behind the end of the bar, in the same unit.
    more: str = ""


SLOW = "API 3000 ms · less is better"
PANELS = (
    Panel("0 ms", "cpu_ms", "CPU per question", "API 0 ms · less is better", "ms", 2, more="database_ms"),
    Panel("0 ms", "per_s", "Questions a second", "API 0 ms · more is better", "/s", 0),
    Panel("3000 ms", "cpu_ms", "CPU per question", SLOW, "ms", 2, more="database_ms"),
    Panel("3000 ms", "peak_mb", "Peak memory", SLOW, "MB", 0),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One contender in one column."""

    #: A value per repetition.
    values: Sequence[float]
    #: What is drawn behind its end, the median.
    more: float
    is_ours: bool

    @property
    def length(self) -> float:
        """How far it reaches, the line on it included."""
        return max(median(self.values) + self.more, *self.values, 0)

    def drawn(self, left: float, baseline: float, scale: float, panel: Panel) -> list[str]:
        """Draw it with its number."""
        kind = "ours" if self.is_ours else ""
        value = median(self.values)
        middle = baseline - 4
        parts = [_box(f"bar {kind}", left, middle, value * scale)]
        if self.more:
            parts.append(_box(f"database {kind}", left + value * scale, middle, self.more * scale))
        if len(self.values) > 1:
            x1, x2 = (left + bound * scale for bound in (min(self.values), max(self.values)))
            parts.append(f'<line class="span" x1="{x1:.1f}" x2="{x2:.1f}" y1="{middle}" y2="{middle}"/>')
        number = f"{value + self.more:,.{panel.digits}f} {panel.unit}"
        return [*parts, _text(left + self.length * scale + 5, baseline, number, kind)]


def plot(runs: Sequence[Run]) -> str:
    """Draw the panels that the runs have figures for.

    A bar is a median, and the line on it goes from the least to the most.
    """
    names = by_rank(runs)
    ours = {run["contender"] for run in runs if run["is_ours"]}
    panels = [panel for panel in PANELS if panel.regime in in_order(runs, "regime")]
    width = 2 * MARGIN + LABELS + max(1, len(panels)) * (COLUMN + GAP) - GAP
    height = HEAD + len(names) * ROW + FOOT
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(_spoken(runs))}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
    ]
    for place, name in enumerate(names):
        parts.append(_text(MARGIN, _baseline(place), name, "ours" if name in ours else ""))
    for place, panel in enumerate(panels):
        bars = [_bar(panel, name, runs, is_ours=name in ours) for name in names]
        parts += _column(panel, MARGIN + LABELS + place * (COLUMN + GAP), bars)
    parts.extend(_text(MARGIN, height - 34 + 16 * line, text, "note") for line, text in enumerate(FOOTNOTE))
    return "\n".join([*parts, "</svg>", ""])


def _column(panel: Panel, left: int, bars: Sequence[Bar | None]) -> list[str]:
    parts = [_text(left, 32, panel.title, "title"), _text(left, 50, panel.note, "note")]
    scale = (COLUMN - NUMBER) / max(bar.length for bar in bars if bar)
    for place, bar in enumerate(bars):
        if bar:
            parts += bar.drawn(left, _baseline(place), scale, panel)
    return parts


def _bar(panel: Panel, name: str, runs: Sequence[Run], *, is_ours: bool) -> Bar | None:
    """Return a contender's bar; None when it was not measured."""
    found, more = (
        list(values(runs, regime=panel.regime, contender=name, figure=figure).values())
        for figure in (panel.figure, panel.more)
    )
    return Bar(found, median(more) if more else 0.0, is_ours) if found else None


def _box(kind: str, x: float, middle: float, width: float) -> str:
    y = middle - BAR / 2
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'


def _baseline(place: int) -> float:
    """Return where the text of a row stands."""
    return HEAD + place * ROW + ROW / 2


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _spoken(runs: Sequence[Run]) -> str:
    """Say the plot in words, for those who hear it."""
    parts = []
    for name in by_rank(runs):
        found = list(values(runs, regime="0 ms", contender=name, figure="cpu_ms").values())
        if found:
            parts.append(f"{name} {median(found):.2f} ms")
    return f"CPU per question with an API that takes no time: {', '.join(parts)}"
