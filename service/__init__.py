"""Modelward: a secured, multi-tenant API that serves versioned scikit-learn models."""
