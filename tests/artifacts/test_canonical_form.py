"""What is kept: our own file, the same for the same estimator, and nothing of how the uploader ran it."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.neighbors import KDTree, KernelDensity, KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from service.artifacts import array_files, container, serialization, validation
from service.artifacts.normalisation import normalise
from service.errors import Finding, Rejected
from tests.artifacts import corpus, hostile
from tests.artifacts.corpus import X, Y


def test_the_same_estimator_has_the_same_bytes_whenever_it_is_written() -> None:
    written = [serialization.dump(DecisionTreeClassifier(random_state=0).fit(X, Y)) for _ in range(3)]

    assert len(set(written)) == 1


def test_what_we_write_passes_our_own_checks() -> None:
    data = serialization.dump(corpus.pipeline("text with counts"))

    container.check(data)
    assert serialization.dump(serialization.load(data)) == data


def test_what_we_write_is_deflated_and_carries_no_time() -> None:
    with zipfile.ZipFile(io.BytesIO(serialization.dump(hostile.honest()))) as archive:
        members = archive.infolist()

    assert {member.compress_type for member in members} == {zipfile.ZIP_DEFLATED}
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert [member.filename for member in members][-1] == "schema.json"


def test_a_file_of_another_scikit_learn_is_never_loaded_silently() -> None:
    with pytest.raises(InconsistentVersionWarning):
        serialization.load(hostile.version("1.2.0"))


def test_what_is_no_estimator_is_not_loaded() -> None:
    with pytest.raises(TypeError, match="dict"):
        serialization.load(skops.io.dumps({"a": 1}))


def test_jobs_threads_and_caches_are_the_servers_affair() -> None:
    forest, means = RandomForestClassifier(2, n_jobs=8).fit(X, Y), KMeans(2).fit(X)
    means._n_threads = 1000
    pipeline = Pipeline([("means", means), ("forest", forest)], memory="/var/cache")

    normalise(pipeline)

    assert (forest.n_jobs, means._n_threads, pipeline.memory) == (None, 1, None)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
def test_neighbour_trees_are_built_again_and_answer_alike(algorithm: str) -> None:
    estimator: Any = KNeighborsClassifier(algorithm=algorithm, metric="minkowski", p=3).fit(X, Y)
    before, tree = estimator.predict_proba(X), estimator._tree

    normalise(estimator)

    assert estimator._tree is not tree
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


def test_the_weights_of_a_density_survive() -> None:
    estimator: Any = KernelDensity().fit(X, sample_weight=np.arange(1.0, len(X) + 1))
    before = estimator.score_samples(X)

    normalise(estimator)

    assert isinstance(estimator.tree_, KDTree)
    np.testing.assert_allclose(estimator.score_samples(X), before)


def test_a_container_has_bounds() -> None:
    data = skops.io.dumps(hostile.honest())
    bounds = {
        "lists more than": container.Bounds(entries=2),
        "larger than 10 bytes": container.Bounds(entry=10),
        "larger than 11 bytes": container.Bounds(schema=11),
        "larger than 12 bytes": container.Bounds(total=12),
        "times its size": container.Bounds(ratio=0, ratio_from=0),
    }
    for words, bound in bounds.items():
        with pytest.raises(Rejected) as refusal:
            container.check(data, bound)
        assert any(words in finding.message for finding in refusal.value.findings)


def test_a_sparse_matrix_is_looked_into() -> None:
    inner = {"data.npy": hostile.array_file(np.save, np.zeros(9)), "evil.npy": b""}
    members = hostile.members_of(skops.io.dumps(hostile.honest())) | {"7.npz": hostile.archive_of(inner)}
    data = hostile.archive_of(members)

    with pytest.raises(Rejected) as refusal:
        container.check(data)
    with container.open_archive(data) as archive:
        narrow = list(array_files.check(archive, spare=10))

    assert refusal.value.findings == (Finding("7.npz", "holds what is no part of a sparse matrix"),)
    assert narrow == [Finding("7.npz", "makes the archive larger than it may be when unpacked")]


def test_members_may_not_overlap_or_leave_room() -> None:
    data = skops.io.dumps(hostile.honest())
    start = data.rindex(b"PK\x05\x06")
    directory = int.from_bytes(data[start + 16 : start + 20], "little")
    gap = data[:directory] + b"evil" + data[directory:start] + data[start : start + 16]
    gap += (directory + 4).to_bytes(4, "little") + data[start + 20 :]
    second = data.index(b"PK\x01\x02", directory + 4)
    overlapping = bytearray(data)
    overlapping[second + 42 : second + 46] = bytes(4)

    for built, words in ((gap, "between"), (bytes(overlapping), "does not begin")):
        with pytest.raises(Rejected) as refusal:
            container.check(built)
        assert any(words in finding.message for finding in refusal.value.findings)


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(skops.io.dumps(hostile.honest()))
    data[data.index(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(Rejected) as refusal:
        container.check(bytes(data))

    assert "is encrypted" in [finding.message for finding in refusal.value.findings]


def test_another_compression_is_refused() -> None:
    data = bytearray(skops.io.dumps(hostile.honest()))
    data[data.index(b"PK\x01\x02") + 10] = 14

    with pytest.raises(Rejected) as refusal:
        container.check(bytes(data))

    assert "is neither stored nor deflated" in [finding.message for finding in refusal.value.findings]


def test_at_most_twenty_findings_are_told() -> None:
    estimator: Any = RandomForestClassifier(30).fit(X, Y)
    for tree in estimator.estimators_:
        tree.predict = 1

    assert len(validation.check(estimator)) == 20
