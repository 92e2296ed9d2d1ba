"""The one file that turns bytes into estimators and estimators into bytes.

What ``dump`` writes is canonical: skops names members by memory address and a random
number, and stamps them with the time; here they are numbered as they appear and carry
no time, so that the same estimator has the same digest.
"""

import io
import json
import warnings
import zipfile
from typing import Any, Final

import numpy as np
import skops.io
from numpy.lib import format as npy
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from service.artifacts import container, schema_file
from service.artifacts.allow_list import TRUSTED

_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)

# For the whole process, because a context with other filters holds for every thread of it.
warnings.filterwarnings("error", category=InconsistentVersionWarning)


def load(data: bytes) -> BaseEstimator:
    """Return the estimator of a ``.skops`` file.

    It is safe for what ``dump`` wrote. What a stranger wrote goes through
    ``inspection`` first, which also calls this, in a confined child.

    :raises InconsistentVersionWarning: another version of scikit-learn fitted it.
    :raises TypeError: it holds no estimator, or a type that is not trusted.
    """
    estimator = skops.io.loads(data, trusted=TRUSTED)
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"it holds a {type(estimator).__name__}, not an estimator")
    return estimator


def dump(estimator: BaseEstimator) -> bytes:
    """Return the canonical ``.skops`` file of an estimator, deflated.

    :raises TypeError: skops cannot write it.
    """
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as written:
        schema = json.loads(written.read(container.SCHEMA))
        members = _renumber(schema)
        canonical = io.BytesIO()
        with zipfile.ZipFile(canonical, "w") as archive:
            for old, new in members.items():
                archive.writestr(_member(new), _without_padding(written.read(old)), compresslevel=6)
            archive.writestr(_member(container.SCHEMA), json.dumps(schema, separators=(",", ":")), compresslevel=6)
    return canonical.getvalue()


def _renumber(schema: dict[str, Any]) -> dict[str, str]:
    """Number ids and members in the order of their appearance; return the members' old and new names."""
    ids: dict[int, int] = {}
    members: dict[str, str] = {}
    for node in schema_file.nodes(schema):
        if "__id__" in node:
            node["__id__"] = ids.setdefault(node["__id__"], len(ids) + 1)
        if "file" in node:
            suffix = node["file"].rpartition(".")[2]
            node["file"] = members.setdefault(node["file"], f"{len(members) + 1}.{suffix}")
    return members


def _without_padding(data: bytes) -> bytes:
    """Return an array file with zeros between the fields of its records, where numpy leaves what was in memory."""
    if not data.startswith(npy.MAGIC_PREFIX) or b"[(" not in data[:32]:
        return data
    records = np.load(io.BytesIO(data), allow_pickle=False)
    clean = np.zeros(records.shape, records.dtype)
    for field in records.dtype.names:
        clean[field] = records[field]
    file = io.BytesIO()
    np.save(file, clean, allow_pickle=False)
    return file.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _NO_TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.create_system = 3
    return member
