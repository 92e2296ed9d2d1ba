"""The hot path: from a principal, a reference and rows to an answer."""
