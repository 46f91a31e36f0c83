"""How the plots of the report look, and how they become SVG text that a page can hold.

No address, no script, no date. The same content gives the same text: ids come from a fixed salt
and carry the plot's name, and no time is written.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, PALE, RED = "#2f6f9f", "#a9c8de", "#b5452f"
MIX = ("#2f6f9f", "#e0a03c", "#3f8f5f", "#b5452f", "#7d5ba6", "#8d99a6", "#c2859a", "#5aa7a7")
WIDE = (8.6, 3.4)
"""Inches."""

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "graildient",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def draw(name: str, plot: Callable[[Figure], None], size: tuple[float, float] = WIDE) -> str:
    """One SVG element. `name`: prefix of its ids, which must differ within a page."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()  # not what a matplotlibrc of this machine says
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        plot(figure)
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text).replace("url(#", f"url(#{name}-")
    text = text.replace('href="#', f'href="#{name}-')
    # The page decides how wide it is.
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{name}"', text, count=1
    ).replace(' height="', ' data-height="', 1)


def percent(*axis: Any) -> None:
    """Label axes in per cent."""
    from matplotlib.ticker import PercentFormatter

    for one in axis:
        one.set_major_formatter(PercentFormatter(1.0, decimals=0))


def dollars(*axis: Any) -> None:
    """Label axes in whole US dollars."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for one in axis:
        one.set_major_formatter(FuncFormatter(lambda value, _: f"${value:,.0f}"))
        one.set_minor_formatter(NullFormatter())
