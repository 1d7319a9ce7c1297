"""Lists of records behind HTTP calls, read as datasets: page by page, below their parents, incrementally."""
