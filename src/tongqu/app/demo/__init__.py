"""The demo: a little factory, moved, cleaned, mended, compared, changed, undone and told."""
