"""Makes the forms of an estimator, and holds them against it; for confined children, which have scikit-learn.

``derive`` makes every form that fits, ``parity`` throws out each that differs,
``choice`` times what is left and keeps the fastest for each method and size.
"""
