"""BASELINES: what place and climate alone predict, which every encoder has to beat.

The train mean, the nearest train samples on the sphere, and boosted trees on climate and place. All
see one number (or one label vector) a tile: for biomass the mean of its labelled pixels, which
`Predictions.with_tiles` puts under every labelled pixel. Only the train split is fitted; validation
chooses sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.predictions import Predictions, tile_predictions
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.modalities import MODALITIES
from mmearth.catalog.modality import TILE_PX
from mmearth.catalog.tasks import TASKS

CLIMATE = ("precipitation", "temperature")
"""Modalities whose values the boosted trees see, beside longitude and latitude."""
NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20, 32, 50, 80)
"""Candidates for the number of neighbours; validation chooses."""
_MOST_TREES, _PATIENCE = 300, 10  # boosting stops after so many rounds without gain on validation
_LEAVES = 15  # few samples and 14 columns: deeper trees learn the samples by heart


@dataclass(frozen=True, slots=True)
class Places:
    """Tiles as the baselines see them; n rows."""

    task: str
    """A key of TASKS."""
    key: tuple[str, ...]
    """(n,) sample keys."""
    split: NDArray[np.str_]
    """(n,) split of each."""
    lon: NDArray[np.float64]
    """(n,) degrees east."""
    lat: NDArray[np.float64]
    """(n,) degrees north."""
    climate: NDArray[np.float64]
    """(n, 12) precipitation in m and temperature in K; NaN where absent."""
    target: NDArray[np.float64]
    """(n, n_outputs) in the task's unit; for pixel-level tasks the mean over labelled pixels."""
    weight: NDArray[np.float64]
    """(n,) labelled pixels of each for pixel-level tasks, else 1."""

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.key)

    def rows(self, chosen: NDArray[np.generic]) -> Places:
        """Return some tiles; `chosen` is a mask (n,) or positions."""
        return replace(
            self,
            key=tuple(np.asarray(self.key, np.str_)[chosen].tolist()),
            split=self.split[chosen],
            lon=self.lon[chosen],
            lat=self.lat[chosen],
            climate=self.climate[chosen],
            target=self.target[chosen],
            weight=self.weight[chosen],
        )


Baseline = Callable[[Places, Places, Places, int], NDArray[np.float64]]
"""(train, val, asked, seed) → predictions for `asked`, (n, n_outputs), in the task's unit."""


def places(manifest: pa.Table, task: str, fraction: int = 100) -> Places:
    """Return the labelled samples of a manifest, train cut to a percentage.

    Args:
        manifest: Of the task, as `manifests/<task>.parquet` holds it.
        task: A key of TASKS.
        fraction: 5, 50 or 100 percent of the train split; other splits are whole.

    Raises:
        FormatError: The manifest lacks the values of tile-level modalities.
    """
    target, weight = _targets(manifest, task)
    split = np.asarray(manifest["split"].to_pylist(), np.str_)
    kept = np.asarray(np.isfinite(target).all(axis=1), np.bool_)
    if fraction != 100:
        inside = manifest[f"train_{fraction}"].fill_null(False).to_numpy().astype(np.bool_)
        kept = kept & ((split != "train") | inside)
    every = Places(
        task,
        tuple(manifest["key"].to_pylist()),
        split,
        manifest["lon"].to_numpy(),
        manifest["lat"].to_numpy(),
        np.concatenate([_values(manifest, name) for name in CLIMATE], axis=1),
        target,
        weight,
    )
    return every.rows(kept)


def predict(
    name: str, known: Places, truth: Mapping[str, Predictions], seed: int
) -> dict[str, Predictions]:
    """Return one baseline's predictions of several splits, fitted once.

    Args:
        name: A key of BASELINES.
        known: Of a whole manifest; only its train and val rows are looked at for fitting.
        truth: By split, any predictions that hold the targets: a run's, or `truth_of`.
        seed: Of what is random in the fitting.

    Raises:
        ConfigError: There is no baseline of that name, or no train sample.
        DataError: A sample of the truth is not in the manifest.
    """
    if name not in BASELINES:
        raise ConfigError(f"found baseline {name!r}, expected one of {', '.join(BASELINES)}")
    train, val = known.rows(known.split == "train"), known.rows(known.split == "val")
    if not len(train):
        raise ConfigError(f"{known.task}: no labelled train sample; a baseline needs one at least")
    asked = known.rows(np.isin(known.split, list(truth)))
    found = BASELINES[name](train, val, asked, seed)
    return {split: of.with_tiles(asked.key, found) for split, of in truth.items()}


def truth_of(known: Places, split: str) -> Predictions:
    """Return a split's targets as predictions of zero; of tiles, also where a task has pixels."""
    rows = known.rows(known.split == split)
    return tile_predictions(known.task, rows.key, np.zeros_like(rows.target), rows.target)


def mean(train: Places, val: Places, asked: Places, seed: int) -> NDArray[np.float64]:
    """Predict the mean of the train split's labels (all pixels alike for biomass) everywhere."""
    centre = np.average(train.target, axis=0, weights=train.weight)
    return np.broadcast_to(centre, (len(asked), len(centre))).copy()


def neighbours(train: Places, val: Places, asked: Places, seed: int) -> NDArray[np.float64]:
    """Predict the mean of the nearest train samples; validation chooses how many.

    Nearest on the sphere: in degrees, the date line would part neighbours.
    """
    sizes = [k for k in NEIGHBOURS if k <= len(train)]
    if len(val):
        nearest = _nearest(train, val, max(sizes))
        sizes.sort(key=lambda k: -_goodness(train.target[nearest[:, :k]].mean(axis=1), val))
    around = train.target[_nearest(train, asked, sizes[0])]
    return np.asarray(around.mean(axis=1), np.float64)


def boosting(train: Places, val: Places, asked: Places, seed: int) -> NDArray[np.float64]:
    """Predict by gradient-boosted trees on climate and place; validation stops the boosting."""
    columns = [_boosted(train, val, asked, seed, i) for i in range(train.target.shape[1])]
    return np.stack(columns, axis=1)


BASELINES: dict[str, Baseline] = {"mean": mean, "neighbours": neighbours, "boosting": boosting}
"""By the name that results carry as their method; their encoder is `baseline`."""


def _boosted(
    train: Places, val: Places, asked: Places, seed: int, output: int
) -> NDArray[np.float64]:
    """Return one output's predictions, (n,); a label that train never varies is predicted so."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    is_label = TASKS[train.task].kind == "multilabel"
    truth = train.target[:, output]
    if not len(asked) or np.ptp(truth) == 0:
        return np.full(len(asked), truth[0])
    # Classes of validation that train lacks cannot be scored; both are there or it does not vote.
    votes = len(val) > 0 and (not is_label or np.ptp(val.target[:, output]) > 0)
    kind = HistGradientBoostingClassifier if is_label else HistGradientBoostingRegressor
    model = kind(
        max_iter=_MOST_TREES if votes else 100,
        early_stopping=votes,
        n_iter_no_change=_PATIENCE,
        max_leaf_nodes=_LEAVES,
        random_state=seed,
    )
    held = {"X_val": _features(val), "y_val": val.target[:, output]} if votes else {}
    if votes:
        held["sample_weight_val"] = val.weight
    # One thread: small trees on cores that others use too are 8 times as slow on several, and the
    # order of a sum is then always the same.
    with threadpool_limits(1):
        model.fit(_features(train), truth, sample_weight=train.weight, **held)
        if is_label:
            return np.asarray(model.predict_proba(_features(asked))[:, 1], np.float64)
        return np.asarray(model.predict(_features(asked)), np.float64)


def _features(seen: Places) -> NDArray[np.float64]:
    return np.column_stack([seen.lon, seen.lat, seen.climate])


def _nearest(train: Places, asked: Places, k: int) -> NDArray[np.int64]:
    """Return the positions of the k nearest train samples of each tile asked for, (n, k)."""
    from sklearn.neighbors import BallTree

    if not len(asked):
        return np.zeros((0, k), np.int64)
    tree = BallTree(np.radians(np.column_stack([train.lat, train.lon])), metric="haversine")
    found = tree.query(
        np.radians(np.column_stack([asked.lat, asked.lon])), k, return_distance=False
    )
    return np.asarray(found, np.int64)


def _goodness(prediction: NDArray[np.float64], truth: Places) -> float:
    """Return the headline metric on tiles, signed so that more is better."""
    metric = METRICS[TASKS[truth.task].metrics[0]]
    if TASKS[truth.task].kind == "regression":  # R² without its constant: one tile is enough
        error = ((prediction - truth.target) ** 2).mean(axis=1)
        return -float(np.average(error, weights=truth.weight))
    value = metric.value(tile_predictions(truth.task, truth.key, prediction, truth.target))
    return -np.inf if np.isnan(value) else value


def _targets(manifest: pa.Table, task: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return targets (n, n_outputs), NaN where unlabelled, and weights (n,)."""
    n = len(manifest)
    if TASKS[task].level == "pixel":
        column = manifest[task].combine_chunks()
        fraction = _floats(column.field("valid_fraction"))
        return _floats(column.field("mean"))[:, None], np.round(fraction * TILE_PX**2)
    if TASKS[task].kind == "regression":
        return _floats(manifest["target"].combine_chunks())[:, None], np.ones(n)
    place = {name: i for i, name in enumerate(TASKS[task].outputs)}
    target = np.zeros((n, len(place)))
    for row, names in enumerate(manifest[task].to_pylist()):
        target[row, [place[name] for name in names]] = 1
    return target, np.ones(n)


def _values(manifest: pa.Table, modality: str) -> NDArray[np.float64]:
    """Return a tile-level modality's values, (n, band); NaN where absent or no-data."""
    what = MODALITIES[modality]
    column = manifest[modality].combine_chunks()
    if column.type.get_field_index("values") < 0:
        raise FormatError(
            f"the manifest has no values of {modality}; it is of an older version: build it again"
        )
    rows = column.field("values").to_pylist()
    absent = [float("nan")] * len(what.bands)
    values = np.array([row or absent for row in rows], np.float64).reshape(-1, len(what.bands))
    return np.where(values == what.nodata, np.nan, values)


def _floats(column: pa.Array) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
