"""What came out: a table for people, JSON for programs, Markdown for the README, a drawing of the ratios."""

import dataclasses
import json
import math
import statistics
from xml.sax.saxutils import escape


@dataclasses.dataclass
class Result:
    """The measurements of a row, or why there are none."""
    row: object
    cairn: list
    yardstick: list
    error: str = ""

    @property
    def figures(self):
        """(Cairn, yardstick): the medians."""
        return statistics.median(self.cairn), statistics.median(self.yardstick)

    @property
    def ratio(self):
        return self.row.ratio(*self.figures)

    @property
    def is_met(self):
        return self.ratio >= self.row.target

    @property
    def verdict(self):
        if self.error:
            return "not measured"
        return "met" if self.is_met else f"missed by {100 * (1 - self.ratio / self.row.target):.0f} %"


@dataclasses.dataclass
class AlsoResult:
    also: object
    value: float = math.nan
    error: str = ""

    @property
    def verdict(self):
        if self.error:
            return "not measured"
        return "met" if self.also.is_met(self.value) else "missed"


def human(value, unit):
    """12345678, "B/s" -> "11.8 MiB/s"."""
    if unit == "us":
        return f"{value:.1f} µs"
    if unit in ("%", "1/s", "1/op"):
        return f"{value:.3g} {unit if unit == '%' else '/' + unit[2:]}"
    step, names = (1024, ("", "Ki", "Mi", "Gi")) if unit.startswith("B") else (1000, ("", "k", "M", "G"))
    i = 0
    while abs(value) >= step and i < len(names) - 1:
        value /= step
        i += 1
    digits = 0 if i == 0 or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {names[i]}{unit.replace('ops/s', '/s') if i == 0 or unit.startswith('B') else '/s'}"


def spread(values, unit):
    """The median, and how far the runs lay apart."""
    middle = statistics.median(values)
    worst = max(abs(v - middle) for v in values)
    return f"{human(middle, unit)} ±{100 * worst / middle:.0f}%" if middle else human(middle, unit)


def table(rows, numbers):
    """Aligned columns; those in @numbers to the right."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = []
    for r in rows:
        cells = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def text(results, also):
    parts = []
    if results:
        rows = [("name", "Cairn", "yardstick", "ratio", "target", "", "measured against")]
        for r in results:
            if r.error:
                rows.append((r.row.name, "-", "-", "-", f"{r.row.target:g}", r.verdict, r.row.against))
            else:
                rows.append((r.row.name, spread(r.cairn, r.row.unit), spread(r.yardstick, r.row.unit), f"{r.ratio:.2f}",
                             f"{r.row.target:g}", r.verdict, r.row.against))
        parts.append(table(rows, {1, 2, 3, 4}))
    if also:
        rows = [("also", "Cairn", "aim", "", "what")]
        for a in also:
            rows.append((a.also.name, "-" if a.error else human(a.value, a.also.unit), human(a.also.aim, a.also.unit), a.verdict,
                         a.also.what))
        parts.append(table(rows, {1, 2}))
    errors = [f"{name}: {error}" for name, error in failures(results, also)]
    if errors:
        parts.append("Not measured:\n" + "\n".join(errors))
    measured = [r for r in results if not r.error]
    if measured:
        met = sum(r.is_met for r in measured)
        parts.append(f"{met} of {len(results)} targets met. A ratio above 1 means Cairn is better; figures are medians, ± is the"
                     " run farthest from it.")
    return "\n\n".join(parts)


def failures(results, also):
    return [(r.row.name, r.error) for r in results if r.error] + [(a.also.name, a.error) for a in also if a.error]


def rows_json(results, also):
    """The documented array; rows without a yardstick have null there. Rows that could not be measured are left out."""
    out = []
    for r in results:
        if not r.error:
            ours, theirs = r.figures
            out.append({"name": r.row.name, "cairn": ours, "yardstick": theirs, "unit": r.row.unit, "ratio": r.ratio,
                        "better": r.row.better, "target": r.row.target, "met": r.is_met, "against": r.row.against,
                        "cairn_runs": r.cairn, "yardstick_runs": r.yardstick})
    for a in also:
        if not a.error:
            out.append({"name": a.also.name, "cairn": a.value, "yardstick": None, "unit": a.also.unit, "ratio": None,
                        "better": "lower", "target": a.also.aim, "met": a.also.is_met(a.value), "against": a.also.what})
    return out


def write_json(path, results, also):
    with open(path, "w") as f:
        json.dump(rows_json(results, also), f, indent=2, allow_nan=False)
        f.write("\n")


def markdown(results, also):
    """The tables of the README."""
    lines = ["| what | Cairn | yardstick | ratio | target |", "| --- | ---: | ---: | ---: | ---: |"]
    for r in results:
        if not r.error:
            ours, theirs = r.figures
            lines.append(f"| `{r.row.name}` | {human(ours, r.row.unit)} | {r.row.against}: {human(theirs, r.row.unit)} |"
                         f" {r.ratio:.2f} | {r.row.target:g} |")
    if also:
        lines += ["", "| what | Cairn | aim |", "| --- | ---: | ---: |"]
        lines += [f"| {a.also.what} | {human(a.value, a.also.unit)} | {human(a.also.aim, a.also.unit)} |" for a in also
                  if not a.error]
    return "\n".join(lines)


def svg(results):
    """One bar a row on a logarithmic axis, how many times its target each ratio is: what lies right of the line is met."""
    shown = [r for r in results if not r.error]
    left, right, step, top, low, high = 230, 330, 24, 56, 0.1, 10.0
    width, height = left + right + 260, top + step * len(shown) + 28

    def x(v):
        return left + right * (math.log10(min(max(v, low), high)) - math.log10(low)) / (math.log10(high) - math.log10(low))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
           ' font-family="sans-serif" font-size="12">', f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
           '<text x="12" y="22" font-size="15" font-weight="bold">Cairn against its yardsticks: ratio by target</text>']
    for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10):
        strong = tick == 1
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 6}" y2="{height - 24}"'
                   f' stroke="{"#333333" if strong else "#dddddd"}" stroke-width="{2 if strong else 1}"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{top - 12}" text-anchor="middle" fill="#555555">{tick:g}</text>')
    for i, r in enumerate(shown):
        share, y = r.ratio / r.row.target, top + step * i
        a, b = sorted((x(1), x(share)))
        out.append(f'<text x="{left - 10}" y="{y + 14}" text-anchor="end">{escape(r.row.name)}</text>')
        out.append(f'<rect x="{a:.1f}" y="{y + 3}" width="{max(b - a, 1):.1f}" height="{step - 8}" rx="2"'
                   f' fill="{"#2f7d4f" if r.is_met else "#b5482f"}"/>')
        ours, theirs = r.figures
        out.append(f'<text x="{left + right + 12}" y="{y + 14}">{r.ratio:.2f} of {r.row.target:g}'
                   f'<tspan dx="5" fill="#555555">({escape(human(ours, r.row.unit))} to {escape(human(theirs, r.row.unit))})</tspan></text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
