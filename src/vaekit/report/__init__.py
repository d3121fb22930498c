"""The report: one self-contained page about a model, and advice on when a VAE is the wrong tool."""

from vaekit.report.advice import Advice, advise_model, advise_table
from vaekit.report.before import TableFacts, table_facts
from vaekit.report.gather import Facts, Rows, gather
from vaekit.report.page import page

__all__ = ["Advice", "Facts", "Rows", "TableFacts", "advise_model", "advise_table", "gather", "page", "table_facts"]
