"""BASELINES: what place and climate alone predict, which every encoder has to beat.

The train mean, the nearest train samples on the sphere, and boosted trees on climate and place. All
see a few numbers a tile: its target's, 0 or 1 for each label or class; where a target has pixels,
the mean or the classes' shares of those labelled, and `Predictions.with_tiles` puts what they say
under every labelled pixel. Only the train split is fitted; validation chooses sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmearth.benchmark.metrics import headline, hits_of
from mmearth.benchmark.predictions import Predictions, tile_predictions
from mmearth.benchmark.sums import Hits
from mmearth.catalog.errors import ConfigError, FormatError
from mmearth.catalog.layer import Layer
from mmearth.catalog.task import Task

NEIGHBOURS = (1, 2, 3, 5, 8, 12, 20, 32, 50, 80)
"""Candidates for the number of neighbours; validation chooses."""
_MOST_TREES, _PATIENCE = 300, 10  # boosting stops after so many rounds without gain on validation
_LEAVES = 15  # few samples and 14 columns: deeper trees learn the samples by heart
_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Places:
    """Tiles as the baselines see them; n rows."""

    task: Task
    """What is predicted."""
    key: tuple[str, ...]
    """(n,) sample keys."""
    split: NDArray[np.str_]
    """(n,) split of each."""
    lon: _Numbers
    """(n,) degrees east."""
    lat: _Numbers
    """(n,) degrees north."""
    climate: _Numbers
    """(n, k) the dataset's tile-level numbers, of the published one precipitation in m and
    temperature in K; NaN where absent."""
    target: _Numbers
    """(n, outputs) in the task's unit; for pixel-level tasks the mean over labelled pixels. Of
    labels and classes 0 or 1, and the share of labelled pixels of each class."""
    weight: _Numbers
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


Baseline = Callable[[Places, Places, Places, int], _Numbers]
"""(train, val, asked, seed) → predictions for `asked`, (n, outputs), like their `target`."""


def places(
    manifest: pa.Table,
    task: Task,
    layers: Mapping[str, Layer],
    fraction: int = 100,
    seen: Iterable[Predictions] = (),
) -> Places:
    """Return the labelled samples of a manifest, train cut to a percentage.

    Args:
        manifest: Of the task, as `manifests/<task>.parquet` holds it.
        task: What is predicted.
        layers: The dataset's modalities.
        fraction: 5, 50 or 100 percent of the train split; other splits are whole.
        seen: Where pixels have classes, of which no manifest tells: any predictions that hold the
            targets of the samples.

    Raises:
        FormatError: The manifest lacks the values of tile-level modalities.
    """
    target, weight = _shares(manifest, task, seen) if has_maps(task) else _targets(manifest, task)
    split = np.asarray(manifest["split"].to_pylist(), np.str_)
    kept = np.asarray(np.isfinite(target).all(axis=1), np.bool_)
    if fraction != 100:
        inside = manifest[f"train_{fraction}"].fill_null(False).to_numpy().astype(np.bool_)
        kept = kept & ((split != "train") | inside)
    numbers = [w for w in layers.values() if not w.is_pixel and w.kind == "continuous"]
    every = Places(
        task,
        tuple(manifest["key"].to_pylist()),
        split,
        manifest["lon"].to_numpy(),
        manifest["lat"].to_numpy(),
        np.hstack([np.zeros((len(manifest), 0)), *(_values(manifest, each) for each in numbers)]),
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
        truth: By split, any predictions that hold the targets.
        seed: Of what is random in the fitting.

    Raises:
        ConfigError: There is no baseline of that name, or no train sample.
        DataError: A sample of the truth is not in the manifest.
    """
    if name not in BASELINES:
        raise ConfigError(f"found baseline {name!r}, expected one of {', '.join(BASELINES)}")
    train, val = known.rows(known.split == "train"), known.rows(known.split == "val")
    if not len(train):
        raise ConfigError(
            f"{known.task.name}: no labelled train sample; a baseline needs one at least"
        )
    asked = known.rows(np.isin(known.split, list(truth)))
    found = BASELINES[name](train, val, asked, seed)
    if has_maps(known.task):
        found = found.argmax(axis=1)[:, None]
    return {split: of.with_tiles(asked.key, found) for split, of in truth.items()}


def mean(train: Places, val: Places, asked: Places, seed: int) -> _Numbers:
    """Predict the mean of the train split's targets everywhere: all pixels alike, where there are.

    Of classes these are their shares, so that the most frequent one is predicted.
    """
    centre = np.average(train.target, axis=0, weights=train.weight)
    return np.broadcast_to(centre, (len(asked), len(centre))).copy()


def neighbours(train: Places, val: Places, asked: Places, seed: int) -> _Numbers:
    """Predict the mean of the nearest train samples; validation chooses how many.

    Nearest on the sphere: in degrees, the date line would part neighbours.
    """
    sizes = [k for k in NEIGHBOURS if k <= len(train)]
    if len(val):
        nearest = _nearest(train, val, max(sizes))
        sizes.sort(key=lambda k: -_goodness(train.target[nearest[:, :k]].mean(axis=1), val))
    around = train.target[_nearest(train, asked, sizes[0])]
    return np.asarray(around.mean(axis=1), np.float64)


def boosting(train: Places, val: Places, asked: Places, seed: int) -> _Numbers:
    """Predict by gradient-boosted trees on climate and place; validation stops the boosting."""
    there = np.isfinite(train.climate).any(axis=0)  # trees cannot split what train never has
    train, val, asked = (replace(p, climate=p.climate[:, there]) for p in (train, val, asked))
    if train.task.kind == "classification":
        return _boosted_classes(train, val, asked, seed)
    columns = [_boosted(train, val, asked, seed, i) for i in range(train.target.shape[1])]
    return np.stack(columns, axis=1)


BASELINES: dict[str, Baseline] = {"mean": mean, "neighbours": neighbours, "boosting": boosting}
"""By the name that results carry as their method; their encoder is `baseline`."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What trees are fitted to, and what stops them."""

    features: _Numbers
    truth: _Numbers
    weight: _Numbers

    def fit(self, val: _Rows | None, is_class: bool, seed: int) -> Any:
        """Return a fitted model; None: nothing stops it."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
        model = kind(
            max_iter=_MOST_TREES if val else 100,
            early_stopping=val is not None,
            n_iter_no_change=_PATIENCE,
            max_leaf_nodes=_LEAVES,
            random_state=seed,
        )
        held: dict[str, _Numbers] = {}
        if val:
            held = {"X_val": val.features, "y_val": val.truth, "sample_weight_val": val.weight}
        return model.fit(self.features, self.truth, sample_weight=self.weight, **held)


def _boosted(train: Places, val: Places, asked: Places, seed: int, output: int) -> _Numbers:
    """Return one output's predictions, (n,); a label that train never varies is predicted so."""
    from threadpoolctl import threadpool_limits

    is_label = train.task.kind == "multilabel"
    known, held = (_Rows(_features(p), p.target[:, output], p.weight) for p in (train, val))
    if not len(asked) or np.ptp(known.truth) == 0:
        return np.full(len(asked), known.truth[0])
    # Classes of validation that train lacks cannot be scored; both are there or it does not vote.
    votes = len(val) > 0 and (not is_label or np.ptp(held.truth) > 0)
    # One thread: small trees on cores that others use too are 8 times as slow on several, and the
    # order of a sum is then always the same.
    with threadpool_limits(1):
        model = known.fit(held if votes else None, is_label, seed)
        if is_label:
            return np.asarray(model.predict_proba(_features(asked))[:, 1], np.float64)
        return np.asarray(model.predict(_features(asked)), np.float64)


def _boosted_classes(train: Places, val: Places, asked: Places, seed: int) -> _Numbers:
    """Return the classes' probabilities, (n, class); a class that train lacks has none."""
    from threadpoolctl import threadpool_limits

    known, there = _by_class(train), train.target.any(axis=0)
    found = np.zeros((len(asked), train.target.shape[1]))
    if not len(asked) or there.sum() == 1:
        found[:, there] = 1
        return found
    held = _by_class(replace(val, target=val.target * there))
    with threadpool_limits(1):
        model = known.fit(held if len(held.truth) else None, True, seed)
        found[:, there] = model.predict_proba(_features(asked))
    return found


def _by_class(seen: Places) -> _Rows:
    """Return a row a tile and class that it holds, weighted by how much of it there is."""
    tile, of_class = np.nonzero(seen.target)
    weight = seen.target[tile, of_class] * seen.weight[tile]
    return _Rows(_features(seen)[tile], of_class.astype(np.float64), weight)


def _features(seen: Places) -> _Numbers:
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


def _goodness(prediction: _Numbers, truth: Places) -> float:
    """Return the headline metric on tiles, signed so that more is better."""
    task = truth.task
    if task.kind == "regression":  # R² without its constants: one tile is enough
        spread = truth.target.std(axis=0)
        error = (((prediction - truth.target) / np.where(spread > 0, spread, 1)) ** 2).mean(axis=1)
        return -float(np.average(error, weights=truth.weight))
    if task.kind == "multilabel":
        made = tile_predictions(task, truth.key, prediction, truth.target)
        value = headline(task).value(made)
    else:
        said = np.eye(prediction.shape[1])[prediction.argmax(axis=1)] * truth.weight[:, None]
        support = truth.target * truth.weight[:, None]
        hits = Hits(support, said, truth.target * said)
        value = float(getattr(hits, task.metrics[0])(np.ones((1, len(truth))))[0])
    return -np.inf if np.isnan(value) else value


def has_maps(task: Task) -> bool:
    """Whether pixels have classes."""
    return task.is_pixel and task.kind == "classification"


def _shares(
    manifest: pa.Table, task: Task, seen: Iterable[Predictions]
) -> tuple[_Numbers, _Numbers]:
    """Return shares of classes, (n, class), NaN where unlabelled, and labelled pixels, (n,)."""
    counts = np.zeros((len(manifest), len(task.outputs)))
    place = {key: row for row, key in enumerate(manifest["key"].to_pylist())}
    for each in seen:
        counts[[place[key] for key in each.key.tolist()]] = hits_of(each).support
    n = counts.sum(axis=1)
    return np.where(n[:, None] > 0, counts / np.maximum(n, 1)[:, None], np.nan), n


def _targets(manifest: pa.Table, task: Task) -> tuple[_Numbers, _Numbers]:
    """Return targets (n, outputs), NaN where unlabelled, and weights (n,)."""
    n = len(manifest)
    column = manifest[task.column].combine_chunks()
    if task.is_pixel:
        n_pixels = np.round(_floats(column.field("valid_fraction")) * np.prod(task.shape))
        return _floats(column.field("mean"))[:, None], n_pixels
    if task.kind == "regression":
        parts = [column] if task.column == "target" else column.flatten()
        return np.stack([_floats(part) for part in parts], axis=1), np.ones(n)
    place = {name: i for i, name in enumerate(task.outputs)}
    target = np.full((n, len(place)), np.nan)
    for row, names in enumerate(column.to_pylist()):
        if names is not None:
            target[row] = 0
            present = [names] if isinstance(names, str) else names
            target[row, [place[name] for name in present]] = 1
    return target, np.ones(n)


def _values(manifest: pa.Table, layer: Layer) -> _Numbers:
    """Return a tile-level modality's values, (n, band); NaN where absent or no-data."""
    column = manifest[layer.name].combine_chunks()
    if column.type.get_field_index("values") < 0:
        raise FormatError(
            f"the manifest has no values of {layer.name}; it is of an older version: build it again"
        )
    rows = column.field("values").to_pylist()
    absent = [float("nan")] * len(layer.bands)
    values = np.array([row or absent for row in rows], np.float64).reshape(-1, len(layer.bands))
    return np.where(values == layer.nodata, np.nan, values) if layer.nodata is not None else values


def _floats(column: pa.Array) -> _Numbers:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
