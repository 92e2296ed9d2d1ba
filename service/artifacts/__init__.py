"""The bytes behind a version: where they are kept, and what must hold before they are.

An upload is admitted in a confined child (``inspection``): what it is (``formats``), its
container before anything is unpacked (``container``), its description before anything is
made (``schema_file``, ``allow_list``), then the estimator itself (``validation``, one
rule a module). What is kept is what this product wrote itself; ``serialization`` is the
only file that turns bytes into estimators and back.
"""
