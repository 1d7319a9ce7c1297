"""Statistical models over columns: groups, anomalies, scores of a saved model; scikit-learn is imported when used."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.errors import InvalidPlanError, MissingDriverError, RunError, SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NORMAL = 0.6745
"""Scales the median absolute deviation to a standard deviation of normal data (Iglewicz and Hoaglin, 1993)."""


def matrix(table: pa.Table, columns: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The columns as doubles, and which rows are complete: null, NaN and infinite values make a row incomplete."""
    arrays = [pc.cast(table.column(name), pa.float64(), safe=False).to_numpy() for name in columns]
    values: NDArray[Any] = np.column_stack(arrays)
    complete: NDArray[Any] = np.asarray(np.isfinite(values).all(axis=1))
    return values, complete


def clusters(values: NDArray[Any], number: int, seed: int) -> NDArray[Any]:
    """k-means groups of standardised rows, numbered from 0 in the order of their centres, so that the same data gets
    the same numbers. Fewer rows than groups get a group each."""
    found = _sklearn("cluster")
    if len(values) <= number:
        ranks = np.unique(values, axis=0, return_inverse=True)[1] if len(values) else np.empty(0)
        return np.asarray(ranks).reshape(-1).astype(np.int64)
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct rows than groups is fine here
        fitted = found.KMeans(n_clusters=number, n_init=10, random_state=seed).fit(scaled)
    order = np.lexsort(fitted.cluster_centers_.T[::-1])
    rank = np.empty(number, np.int64)
    rank[order] = np.arange(number)
    return np.asarray(rank[fitted.labels_])


def robust_z(values: NDArray[Any]) -> NDArray[Any]:
    """Of each row the largest distance of a value from its column's median, in robust standard deviations; a column
    whose median absolute deviation is zero tells nothing."""
    if not len(values):
        return np.empty(0)
    away = np.abs(values - np.median(values, axis=0))
    spread = np.median(away, axis=0)
    scores = np.where(spread > 0, _NORMAL * away / np.where(spread > 0, spread, 1), 0.0)
    return np.asarray(scores.max(axis=1))


def isolation(values: NDArray[Any], share: float | None, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Which rows an isolation forest (Liu, Ting and Zhou, 2008) finds anomalous, and their scores, higher for stranger.
    `share` is the expected part of anomalies; None leaves the bound to the method."""
    if not len(values):
        return np.empty(0, bool), np.empty(0)
    found = _sklearn("ensemble")
    forest = found.IsolationForest(contamination="auto" if share is None else share, random_state=seed)
    labels = forest.fit_predict(values)
    return np.asarray(labels == -1), np.asarray(-forest.score_samples(values))


def pinned(data: bytes, sha256: str, file: str) -> None:
    """Raise InvalidPlanError unless the bytes have the digest."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise InvalidPlanError(
            f"the model {file!r} is not the one that was pinned: its SHA-256 is {found}",
            hint="put the pinned file back, or pin this one after checking where it comes from",
        )


def load(data: bytes, file: str, trusted: Sequence[str]) -> Any:
    """A model saved by `skops.io.dump`; nothing of the file is executed. Raises InvalidPlanError naming the types that
    it holds and `trusted` does not name."""
    try:
        import skops.io as saved  # type: ignore[import-untyped]  # it ships no types
    except ImportError as error:
        raise _missing() from error
    try:
        unknown = set(saved.get_untrusted_types(data=data)) - set(trusted)
        if unknown:
            raise InvalidPlanError(
                f"the model {file!r} holds types that are not trusted: {', '.join(sorted(unknown))}",
                hint="name them under `trusted` after checking where the model comes from",
            )
        return saved.loads(data, trusted=list(trusted))
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, TypeError, AttributeError) as error:
        kind = type(error).__name__
        hint = "save it with skops.io.dump; a pickle is not read, since it could run any code"
        raise InvalidPlanError(f"{file!r} is no model saved by skops ({kind})", hint=hint) from error


def scores(model: Any, values: NDArray[Any], columns: Sequence[str], output: str) -> NDArray[Any]:
    """What the model says of each row. Raises SchemaError if it was trained on other columns, RunError if it fails."""
    trained = getattr(model, "feature_names_in_", None)
    if trained is not None and list(trained) != list(columns):
        raise SchemaError(f"the model was trained on {', '.join(trained)}, not {', '.join(columns)}")
    wanted = getattr(model, "n_features_in_", len(columns))
    if wanted != len(columns):
        raise SchemaError(f"the model was trained on {wanted} columns, not {len(columns)}")
    if not hasattr(model, output):
        raise SchemaError(f"the model has no {output}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the names were compared above
            made = np.asarray(getattr(model, output)(values))
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"the model failed: {type(error).__name__}: {error}") from error
    return made[:, -1] if made.ndim == 2 else made


def _sklearn(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise _missing() from error


def _missing() -> MissingDriverError:
    return MissingDriverError("the step `model` needs scikit-learn", hint="pip install 'tongqu[model]'")
