"""Work beyond the one call of an estimator: fitting, in confined children."""
