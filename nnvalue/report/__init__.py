"""Pictures of results."""

from nnvalue.report.pictures import draw_circle, draw_graph, draw_heat_map

__all__ = ["draw_circle", "draw_graph", "draw_heat_map"]
