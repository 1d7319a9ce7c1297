"""The one rewriter: what a caller asks is written over the rows and fields it may see, and over nothing else."""

from tongqu.gateway.rewrite.changing import Conditions, conditions, returning
from tongqu.gateway.rewrite.cursors import Cursors
from tongqu.gateway.rewrite.filtering_rows import RowFilter, filtered_view
from tongqu.gateway.rewrite.repeating import Repeated
from tongqu.gateway.rewrite.rewriting import Rewritten, rewrite

__all__ = [
    "Conditions", "Cursors", "Repeated", "Rewritten", "RowFilter", "conditions", "filtered_view", "returning",
    "rewrite",
]  # fmt: skip
