"""Results to look at: a page that holds all of them, and pictures for papers."""

from nnvalue.report.page import Report, build_report
from nnvalue.report.pictures import draw_circle, draw_figure, draw_graph, draw_heat_map
from nnvalue.report.plots import figures_of

__all__ = ["Report", "build_report", "draw_circle", "draw_figure", "draw_graph", "draw_heat_map", "figures_of"]
