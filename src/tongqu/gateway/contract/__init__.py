"""What a published version promises its callers, and which changes break the promise."""
