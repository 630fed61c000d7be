"""What a study says: tables, figures and one HTML page."""

from flipproof.study.report.page import write
from flipproof.study.report.terminal import Headline, headline, tables

__all__ = ["Headline", "headline", "tables", "write"]
