"""All figures, and how to write them."""

from poise.report.cell import cell_figure
from poise.report.curves import curves_figure
from poise.report.mixture import mixture_figure
from poise.report.style import save_figure

__all__ = ["cell_figure", "curves_figure", "mixture_figure", "save_figure"]
