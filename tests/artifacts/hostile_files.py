"""The corpus: what each hostile file is called, how it is built, and how its refusal reads."""

from collections.abc import Callable

import numpy as np
import skops.io
from sklearn.cluster import DBSCAN
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tests.artifacts.corpus import X, Y
from tests.artifacts.hostile import (
    COMMAND,
    a_tuple,
    archive_of,
    array_file,
    costly_pattern,
    costly_polynomial,
    deep,
    duplicated,
    edited,
    first_array,
    histograms,
    honest,
    lying_array,
    missing_parameter,
    node,
    old_protocol,
    pickled,
    pipeline_with,
    text,
    text_from_files,
    tokenizing_with,
    transforming_with_mean,
    tree,
    version,
    with_array,
    with_attribute,
    with_instance_attribute,
    with_member,
    with_members,
    with_nodes,
    with_value,
    without_a_tree,
)

NAN, INFINITY = float("nan"), float("inf")
COEFFICIENTS = np.full((3, 5), NAN)

REJECTED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "a name that climbs": (lambda: with_members(lambda m: m.update({"../../etc/passwd": b"x"})), "../../etc", "name"),
    "an absolute name": (lambda: with_members(lambda m: m.update({"/etc/passwd": b"x"})), "/etc/passwd", "name"),
    "a member of another kind": (lambda: with_members(lambda m: m.update({"readme.md": b"x"})), "readme.md", "name"),
    "a bomb": (lambda: with_members(lambda m: first_array(m, bytes(48 << 20))), "archive", "times its size"),
    "a larger bomb": (lambda: with_members(lambda m: first_array(m, bytes(513 << 20))), ".npy", "larger than"),
    "a name twice": (duplicated, ".npy", "more than once"),
    "no description": (lambda: with_members(lambda m: m.pop("schema.json")), "schema.json", "missing"),
    "a description of garbage": (lambda: archive_of({"schema.json": b"\xff\x00{"}), "schema.json", "JSON"),
    "a description with a byte order mark": (
        lambda: with_members(lambda m: m.update({"schema.json": b"\xef\xbb\xbf" + m["schema.json"]})),
        "schema.json",
        "JSON",
    ),
    "a description in UTF-16": (
        lambda: with_members(lambda m: m.update({"schema.json": m["schema.json"].decode().encode("utf-16")})),
        "schema.json",
        "JSON",
    ),
    "a description of a list": (lambda: archive_of({"schema.json": b"[]"}), "schema.json", "no object"),
    "a description 100,000 deep": (lambda: archive_of({"schema.json": deep(100_000)}), "schema.json", ""),
    "a description 900 deep": (lambda: archive_of({"schema.json": deep(900)}), "schema.json", "nested"),
    "an old protocol": (lambda: edited(honest(), old_protocol), "protocol", "must be 2"),
    "a truncated file": (lambda: skops.io.dumps(honest())[:-30], "archive", "cut off"),
    "half a file": (lambda: skops.io.dumps(honest())[:2000], "archive", "cut off"),
    "something appended": (lambda: skops.io.dumps(honest()) + pickled(0), "archive", "appended"),
    "flipped bytes": (lambda: skops.io.dumps(honest()).replace(b"\x93NUMPY", b"\x93BUMPY"), ".npy", ""),
    "an array that promises a terabyte": (
        lambda: with_members(lambda m: first_array(m, lying_array())),
        ".npy",
        "as many elements",
    ),
    "an array of moments": (
        lambda: with_members(lambda m: first_array(m, array_file(np.save, np.zeros(3, "M8[s]")))),
        ".npy",
        "no estimator holds",
    ),
    "os.system as a function": (
        lambda: with_attribute("verbose", node("FunctionNode", "posix.system")),
        "posix.system",
        "not allowed",
    ),
    "os.system in a partial": (
        lambda: with_attribute(
            "verbose",
            node(
                "PartialNode",
                "functools.partial",
                content={
                    "func": node("FunctionNode", "posix.system"),
                    "args": a_tuple(text(COMMAND)),
                    "kwds": text(None),
                    "namespace": text(None),
                },
            ),
        ),
        "posix.system",
        "not allowed",
    ),
    "a call by the operator module": (
        lambda: with_attribute(
            "verbose", node("OperatorFuncNode", "operator.methodcaller", attrs=a_tuple(text("system"), text(COMMAND)))
        ),
        "operator.methodcaller",
        "not allowed",
    ),
    "operator.call, constructed": (
        lambda: with_attribute(
            "verbose",
            node("OperatorFuncNode", "operator.call", attrs=a_tuple(node("TypeNode", "posix.system"), text(COMMAND))),
        ),
        "operator.call",
        "not allowed",
    ),
    "a bound method": (
        lambda: with_attribute(
            "verbose", node("MethodNode", "builtins.str", content={"func": "format", "obj": text("")})
        ),
        "builtins.str",
        "MethodNode",
    ),
    "eval as a type": (lambda: with_attribute("verbose", node("TypeNode", "builtins.eval")), "builtins.eval", ""),
    "a constructor of the file's choice": (
        lambda: with_attribute(
            "verbose", node("ConstructorFromReduceNode", "subprocess.Popen", content=a_tuple(text(COMMAND)))
        ),
        "subprocess.Popen",
        "not allowed",
    ),
    "an object of the standard library": (
        lambda: with_attribute("verbose", node("ObjectNode", "zipfile.ZipFile")),
        "zipfile.ZipFile",
        "not allowed",
    ),
    "an unknown loader": (
        lambda: with_attribute("verbose", node("EvilNode", "builtins.int")),
        "builtins.int",
        "EvilNode",
    ),
    "a foreign package": (
        lambda: with_attribute("verbose", node("ObjectNode", "quantile_forest.RandomForestQuantileRegressor")),
        "quantile_forest",
        "not allowed",
    ),
    "a loader given another's type": (
        lambda: with_attribute("verbose", node("ListNode", "builtins.eval", content=[])),
        "builtins.eval",
        "ListNode",
    ),
    "a reference into nowhere": (
        lambda: with_attribute("verbose", node("CachedNode", "builtins.list")),
        "builtins.list",
        "CachedNode",
    ),
    "a node without content": (lambda: with_attribute("verbose", node("DictNode", "builtins.dict")), "file", "loaded"),
    "no estimator but a dictionary": (lambda: skops.io.dumps({"a": honest()}), "file", "not an estimator"),
    "another scikit-learn": (lambda: version("1.2.0"), "sklearn_version", "1.2.0"),
    "no scikit-learn version": (lambda: version(None), "sklearn_version", "unknown"),
    "a child before its parent": (lambda: with_nodes(tree(), "left_child", 0), "tree_", "no later node"),
    "a child behind the end": (lambda: with_nodes(tree(), "right_child", 1 << 40), "tree_", "no later node"),
    "a negative child": (lambda: with_nodes(tree(), "left_child", -7), "tree_", ""),
    "a child with two parents": (lambda: with_nodes(tree(), "right_child", 1), "tree_", "exactly one parent"),
    "a split on no feature": (lambda: with_nodes(tree(), "feature", 1 << 30), "tree_", "do not have"),
    "a tampered number of features": (lambda: with_value(tree(), "n_features_in_", 2), "n_features_in_", "differs"),
    "a number of features that nobody has": (
        lambda: with_value(Ridge().fit(X, Y), "n_features_in_", 10**9),
        "estimator",
        "columns",
    ),
    "a tampered number of classes": (lambda: with_value(tree(), "n_classes_", 7), "DecisionTreeClassifier", "differs"),
    "a node with one child": (lambda: with_nodes(tree(), "left_child", -1), "tree_", "one child"),
    "histogram nodes of another form": (
        lambda: with_array(histograms(), lambda nodes: nodes.reshape(-1, 1)),
        "_predictors",
        "another form",
    ),
    "a histogram that is no tree": (without_a_tree, "_predictors", "something else"),
    "a forest of something else": (
        lambda: with_member(RandomForestClassifier(2, random_state=0).fit(X, Y), Ridge().fit(X, Y)),
        "estimators_[0]",
        "no fitted tree",
    ),
    "a boosted forest of classifiers": (
        lambda: with_member(GradientBoostingClassifier(n_estimators=2).fit(X, Y), tree()),
        "estimators_[0]",
        "more than one value",
    ),
    "a damaged directory": (
        lambda: skops.io.dumps(honest()).replace(b"PK\x01\x02", b"PK\x01\x09"),
        "archive",
        "cannot be read",
    ),
    "a damaged description": (
        lambda: skops.io.dumps(honest()).replace(b'"protocol"', b'"protocoX"'),
        "schema.json",
        "cannot be unpacked",
    ),
    "a pipeline of no steps": (
        lambda: with_value(make_pipeline(StandardScaler(), Ridge()).fit(X, Y), "steps", 7),
        "estimator",
        "fitted",
    ),
    "a forest narrower than its trees": (
        lambda: with_value(RandomForestClassifier(2, random_state=0).fit(X, Y), "n_features_in_", 2),
        "estimators_[0]",
        "another number",
    ),
    "a boosted forest narrower than its trees": (
        lambda: with_value(GradientBoostingClassifier(n_estimators=2).fit(X, Y), "n_features_in_", 2),
        "estimators_[0]",
        "another number",
    ),
    "a histogram tree out of bounds": (lambda: with_nodes(histograms(), "left", 1 << 30), "_predictors", "no later"),
    "a histogram split on no feature": (
        lambda: with_nodes(histograms(), "feature_idx", 1 << 40),
        "_predictors",
        "do not have",
    ),
    "a histogram split on no category": (
        lambda: with_nodes(histograms(), "is_categorical", 1),
        "_predictors",
        "categories",
    ),
    "histograms narrower than their trees": (
        lambda: with_value(histograms(), "n_features_in_", 2),
        "",
        "features",
    ),
    "an unfitted estimator": (lambda: skops.io.dumps(LogisticRegression()), "estimator", "not fitted"),
    "an unfitted pipeline": (
        lambda: skops.io.dumps(make_pipeline(StandardScaler(), Ridge())),
        "estimator",
        "not fitted",
    ),
    "a transformer": (lambda: skops.io.dumps(StandardScaler().fit(X)), "estimator", "no predict"),
    "a clustering without predict": (lambda: skops.io.dumps(DBSCAN().fit(X)), "estimator", "no predict"),
    "coefficients that are no numbers": (
        lambda: with_instance_attribute(honest(), coef_=COEFFICIENTS),
        "coef_",
        "not finite",
    ),
    "an infinite intercept": (
        lambda: with_instance_attribute(Ridge().fit(X, Y), intercept_=INFINITY),
        "intercept_",
        "not finite",
    ),
    "an attribute in place of predict": (
        lambda: with_instance_attribute(honest(), predict=1),
        "LogisticRegression.predict",
        "hides the method",
    ),
    "an attribute in place of a private method": (
        lambda: with_instance_attribute(honest(), _predict_proba_lr=1),
        "_predict_proba_lr",
        "hides the method",
    ),
    "a reader of files": (text_from_files, "input", "content"),
    "a function as a transformer": (lambda: pipeline_with(FunctionTransformer(np.log1p)), "numpy", "not allowed"),
    "an allowed function as a transformer": (
        transforming_with_mean,
        "func",
        "is a function",
    ),
    "an allowed function as a tokenizer": (
        lambda: tokenizing_with(node("FunctionNode", "sklearn.utils.validation.check_array")),
        "tokenizer",
        "is a function",
    ),
    "a type as a tokenizer": (lambda: tokenizing_with(node("TypeNode", "builtins.list")), "tokenizer", "is a type"),
    "a hyper-parameter that scikit-learn refuses": (
        lambda: with_instance_attribute(honest(), C=-1.0),
        "LogisticRegression",
        "'C'",
    ),
    "a missing hyper-parameter": (missing_parameter, "C", "is missing"),
}
"""Name: the file, and what must stand in the place and in the message of a finding."""

COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "a polynomial of degree 165": (costly_polynomial, "memory"),
    "a pattern that backtracks for ever": (costly_pattern, "seconds"),
}
"""Name: the file, and what the refusal says it took too much of; each only ends by its limits."""
