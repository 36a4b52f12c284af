"""The page `report.html`: one file that shows a run, or several beside each other."""

from phase_jax.report.page.build import build_comparison, build_page
from phase_jax.report.page.comparison import PrintedRow

__all__ = ["PrintedRow", "build_comparison", "build_page"]
