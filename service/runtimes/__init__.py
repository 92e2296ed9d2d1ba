"""What runs an estimator without scikit-learn.

A *form* computes some of an estimator's methods from arrays alone: numpy for linear
models and support vectors, treelite and ONNX Runtime for trees, ONNX Runtime for others.
Forms need no more than those libraries. Whatever makes them of an estimator, and holds
them against it, stands in ``derivation``, and runs in confined children.

A form is made of plain parts, its constructor's parameters, and has each as an attribute
of the same name, so that it can be sent to another process and be made again there. A
constructor refuses parts that do not agree.
"""

import os

# ONNX Runtime keeps a database of how it is used in the home directory of whoever runs it, and sends it to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
