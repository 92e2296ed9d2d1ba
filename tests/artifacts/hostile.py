"""Files that nobody honest sends, built as an attacker would: by editing what skops wrote."""

import io
import itertools
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures
from sklearn.tree import DecisionTreeClassifier

from tests.artifacts.corpus import MOODS, WORDS, X, Y

Schema = dict[str, Any]
Members = dict[str, bytes]
COMMAND = "touch /tmp/owned-by-a-model"


class RunsACommand:
    """Unpickling it runs a command."""

    def __reduce__(self) -> Any:
        return os.system, (COMMAND,)


def honest() -> LogisticRegression:
    return LogisticRegression().fit(X, Y)


def pickled(protocol: int) -> bytes:
    return pickle.dumps([honest(), RunsACommand()], protocol)


def joblib_bytes(compress: Any = 0) -> bytes:
    file = io.BytesIO()
    joblib.dump([np.arange(3), RunsACommand()], file, compress=compress)
    return file.getvalue()


def array_file(save: Callable[..., None], *arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, *arrays)
    return file.getvalue()


def members_of(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: Members) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def edited(estimator: Any, change: Callable[[Schema, Members], None]) -> bytes:
    """What skops writes of the estimator, after ``change`` had its way with description and members."""
    members = members_of(skops.io.dumps(estimator))
    schema = json.loads(members.pop("schema.json"))
    change(schema, members)
    return archive_of(members | {"schema.json": json.dumps(schema).encode()})


def with_attribute(name: str, node: Schema) -> bytes:
    """A logistic regression, one attribute of which is a node of the attacker's making."""

    def change(schema: Schema, members: Members) -> None:
        schema["content"]["content"][name] = node
        schema["content"]["key_types"]["content"].append(schema["content"]["key_types"]["content"][0])

    return edited(honest(), change)


def node(loader: str, name: str, **rest: Any) -> Schema:
    module, _, kind = name.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": kind, "__id__": 424242, **rest}


_ids = itertools.count(1 << 60)


def a_list(*items: Schema) -> Schema:
    return node("ListNode", "builtins.list", content=list(items))


def a_tuple(*items: Schema) -> Schema:
    return node("TupleNode", "builtins.tuple", content=list(items)) | {"__id__": 4243}


def text(value: Any) -> Schema:
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True) | {"__id__": next(_ids)}


def with_nodes(estimator: Any, field: str, value: int, where: int = 0) -> bytes:
    """A tree estimator with one field of one node changed, in the first array of nodes."""

    def change(schema: Schema, members: Members) -> None:
        for name, data in members.items():
            array = np.load(io.BytesIO(data)) if name.endswith(".npy") else np.zeros(0)
            if array.dtype.names:
                array[field][where] = value
                members[name] = array_file(np.save, array)
                return

    return edited(estimator, change)


def with_array(estimator: Any, change: Callable[[Any], Any]) -> bytes:
    """A tree estimator whose first array of nodes is put through ``change``."""

    def edit(schema: Schema, members: Members) -> None:
        for name, data in members.items():
            array = np.load(io.BytesIO(data)) if name.endswith(".npy") else np.zeros(0)
            if array.dtype.names:
                members[name] = array_file(np.save, change(array))
                return

    return edited(estimator, edit)


def with_member(estimator: Any, member: Any) -> bytes:
    """An ensemble, the first member of which is replaced."""
    estimator.estimators_[0] = member
    return skops.io.dumps(estimator)


def without_a_tree() -> bytes:
    estimator = histograms()
    estimator._predictors[0][0] = 7
    return skops.io.dumps(estimator)


def with_value(estimator: Any, attribute: str, value: Any) -> bytes:
    """An estimator with one plain attribute of its description changed."""

    def change(schema: Schema, members: Members) -> None:
        schema["content"]["content"][attribute] = text(value)

    return edited(estimator, change)


def with_instance_attribute(estimator: Any, **attributes: Any) -> bytes:
    vars(estimator).update(attributes)
    return skops.io.dumps(estimator)


def with_members(change: Callable[[Members], Any]) -> bytes:
    members = members_of(skops.io.dumps(honest()))
    change(members)
    return archive_of(members)


def first_array(members: Members, data: bytes) -> None:
    name = next(name for name in members if name.endswith(".npy"))
    members[name] = data


def duplicated() -> bytes:
    file = io.BytesIO(skops.io.dumps(honest()))
    with zipfile.ZipFile(file, "a") as archive:
        twin = archive.infolist()[0].filename
        archive.NameToInfo.clear()
        archive.writestr(twin, b"another")
    return file.getvalue()


def lying_array() -> bytes:
    """An array file whose header promises a terabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 37,)})
    return header.getvalue() + b"\0" * 64


def deep(levels: int) -> bytes:
    return b'{"__loader__":"ListNode","protocol":2,"content":' + b"[" * levels + b"]" * levels + b"}"


def tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(random_state=0).fit(X, Y)


def histograms() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=2).fit(X, Y)


def pipeline_with(first: Any, last: Any = None) -> bytes:
    return skops.io.dumps(make_pipeline(first, last or Ridge()).fit(np.abs(X), Y))


def transforming_with_mean() -> bytes:
    estimator = make_pipeline(FunctionTransformer(), Ridge()).fit(X, Y)
    estimator[0].func = np.mean
    return skops.io.dumps(estimator)


def text_from_files() -> bytes:
    estimator = make_pipeline(CountVectorizer(), MultinomialNB()).fit(WORDS, MOODS)
    estimator[0].input = "filename"
    return skops.io.dumps(estimator)


def tokenizing_with(function: Schema) -> bytes:
    def change(schema: Schema, members: Members) -> None:
        steps = schema["content"]["content"]["steps"]["content"]
        steps[0]["content"][1]["content"]["content"]["tokenizer"] = function

    return edited(make_pipeline(CountVectorizer(), MultinomialNB()).fit(WORDS, MOODS), change)


def version(value: str | None) -> bytes:
    def change(schema: Schema, members: Members) -> None:
        state = schema["content"]["content"]
        if value is None:
            del state["_sklearn_version"]
            schema["content"]["key_types"]["content"].pop()
        else:
            state["_sklearn_version"] = text(value)

    return edited(honest(), change)


def neighbours_pointing_out() -> bytes:
    """A nearest-neighbours classifier, the tree of which points behind its own data."""

    def change(schema: Schema, members: Members) -> None:
        state = schema["content"]["content"]["_tree"]["content"]["content"]
        members[state[1]["file"]] = array_file(np.save, np.full(len(X), 1 << 40))

    return edited(KNeighborsClassifier(algorithm="kd_tree").fit(X, Y), change)


def missing_parameter() -> bytes:
    estimator = honest()
    del vars(estimator)["C"]
    return skops.io.dumps(estimator)


def costly_polynomial() -> bytes:
    estimator = make_pipeline(PolynomialFeatures(2), Ridge()).fit(X, Y)
    estimator[0].degree = estimator[0]._max_degree = 165
    estimator[0]._n_out_full = estimator[0].n_output_features_ = 1 << 32
    return skops.io.dumps(estimator)


def costly_pattern() -> bytes:
    estimator = make_pipeline(CountVectorizer(), MultinomialNB()).fit(WORDS, MOODS)
    estimator[0].token_pattern = r"(?:.|.|.|.|.|.|.|.)+Z"
    return skops.io.dumps(estimator)


def old_protocol(schema: Schema, members: Members) -> None:
    schema["protocol"] = 0
