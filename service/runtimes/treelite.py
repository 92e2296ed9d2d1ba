"""The sums over the leaves of trees, added up by treelite in float64 as scikit-learn adds them."""

import numpy as np
import treelite
import treelite.gtil

from service.runtimes.forms import Array, UnfitError, agree


class TreeliteLeaves:
    """The sums over an ensemble's leaves.

    :param model: the serialised ensemble.
    :param known: columns that have categories, each with these; to scikit-learn every other
        value there is a gap, and to treelite it is a category that was never seen.
    :raises UnfitError: treelite does not take the model.
    """

    def __init__(self, model: bytes, known: tuple[tuple[int, Array], ...]) -> None:
        agree(all(values.ndim == 1 for _, values in known), "categories are one list")
        try:
            self._model = treelite.Model.deserialize_bytes(model)
        except treelite.TreeliteError as error:
            raise UnfitError(f"treelite does not take it: {error}") from error
        agree(all(map(self._leads_down, range(self._model.num_tree))), "every branch leads down, to what there is")
        self.known = known
        self.size_bytes = len(model)

    @property
    def model(self) -> bytes:
        """The serialised ensemble."""
        data: bytes = self._model.serialize_bytes()
        return data

    def _leads_down(self, number: int) -> bool:
        """Whether a tree's evaluation ends, and within its arrays; treelite itself looks at neither."""
        field = self._model.get_tree_accessor(number).get_field
        left, right, feature = field("cleft"), field("cright"), field("split_index")
        own, inner = np.arange(len(left)), left >= 0
        down = (left > own) & (left < len(own)) & (right > own) & (right < len(own))
        known = (feature >= 0) & (feature < self._model.num_feature)
        vectors = [field("leaf_vector_begin"), field("leaf_vector_end")]
        return bool((down & known)[inner].all()) and all((each <= len(field("leaf_vector"))).all() for each in vectors)

    def __call__(self, X: Array) -> Array:
        """Return (n_samples, n_sums) in float64."""
        rows = self._with_gaps(X) if self.known else X
        sums: Array = treelite.gtil.predict(self._model, rows, nthread=1, pred_margin=True)
        return sums.reshape(len(rows), -1).astype(np.float64, copy=False)

    def _with_gaps(self, rows: Array) -> Array:
        rows = rows.copy()
        for column, values in self.known:
            rows[~np.isin(rows[:, column], values), column] = np.nan
        return rows
