"""Metrics equal scikit-learn's on the whole split; intervals and streamed sums agree with them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from mmearth.benchmark.evaluation import all_scores
from mmearth.benchmark.intervals import draws, score
from mmearth.benchmark.metrics import METRICS, average_precisions, check_metrics
from mmearth.benchmark.predictions import Predictions, pixel_predictions, tile_predictions
from mmearth.benchmark.reconstruction import Reconstruction
from mmearth.benchmark.sums import moments
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.tests.make_tiny import OWN

SOIL, SPECIES, BIOMASS = (MMEARTH_BENCH.tasks[name] for name in ("soil_pH", "species", "biomass"))


def regression(n: int = 50, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    target = generator.normal(6, 1, (n, 1))
    guess = target + generator.normal(0, 0.7, (n, 1))
    return tile_predictions(SOIL, [f"k{i:04d}" for i in range(n)], guess, target)


def multilabel(n: int = 80, seed: int = 0, digits: int = 2) -> Predictions:
    """Scores of few digits tie often, as saturated probabilities do."""
    generator = np.random.default_rng(seed)
    target = generator.random((n, 100)) < np.linspace(0.5, 0.03, 100)
    guess = np.clip(0.3 * target + generator.random((n, 100)) * 0.7, 0, 1).round(digits)
    return tile_predictions(SPECIES, [f"k{i:04d}" for i in range(n)], guess, target)


def biomass(n: int = 30, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    shape = (n, 128, 128)
    target = generator.gamma(1, 60, shape) * generator.random((n, 1, 1)) * 2
    mask = generator.random(shape) < generator.random((n, 1, 1)) * 0.01
    guess = 0.5 * target + generator.normal(30, 20, shape)
    return pixel_predictions(BIOMASS, [f"k{i:04d}" for i in range(n)], guess, target, mask)


def texture(n: int = 40, seed: int = 0) -> Predictions:
    """Three outputs of other sizes and skills."""
    generator = np.random.default_rng(seed)
    target = generator.normal((30, 50, 5), (10, 5, 1), (n, 3))
    guess = target + generator.normal(0, (5, 4, 2), (n, 3))
    return tile_predictions(OWN.tasks["texture"], [f"k{i:04d}" for i in range(n)], guess, target)


def crop(n: int = 60, seed: int = 0) -> Predictions:
    """The third class is never true, and predicted now and then."""
    generator = np.random.default_rng(seed)
    target = generator.integers(0, 2, (n, 1))
    guess = generator.dirichlet((1, 1, 0.5), n) + 0.5 * np.eye(3)[target[:, 0]]
    return tile_predictions(OWN.tasks["crop"], [f"k{i:04d}" for i in range(n)], guess, target)


def landcover(n: int = 12, seed: int = 0) -> Predictions:
    """The third class is neither true nor predicted; some pixels of each tile are labelled."""
    generator = np.random.default_rng(seed)
    shape = (n, 32, 32)
    target = generator.integers(0, 2, shape) * (generator.random((n, 1, 1)) > 0.3)
    guess = np.where(generator.random(shape) < 0.7, target, 1 - target)
    mask = generator.random(shape) < generator.random((n, 1, 1)) * 0.2
    target[~mask] = -100  # what lies there has no meaning
    keys = [f"k{i:04d}" for i in range(n)]
    return pixel_predictions(OWN.tasks["landcover"], keys, guess, target, mask)


def test_every_task_has_its_metrics() -> None:
    tasks = [*MMEARTH_BENCH.tasks.values(), *OWN.tasks.values()]
    assert {name for task in tasks for name in task.metrics} == set(METRICS)
    for task in tasks:
        check_metrics(task)
    for metrics, said in ((("r2",), "scored by r2"), ((), "scored by nothing")):
        with pytest.raises(ConfigError, match=f"crop is {said}; expected some of balanced_acc"):
            check_metrics(replace(OWN.tasks["crop"], metrics=metrics))


@pytest.mark.parametrize("made", [regression(), biomass()], ids=["tile", "pixel"])
def test_regression_equals_scikit_learn(made: Predictions) -> None:
    truth, guess = made.target, made.prediction.astype(np.float64)
    assert METRICS["r2"].value(made) == pytest.approx(sk.r2_score(truth, guess), rel=1e-12)
    expected = sk.root_mean_squared_error(truth, guess)
    assert METRICS["rmse"].value(made) == pytest.approx(expected, rel=1e-12)


def test_several_outputs_are_averaged_as_scikit_learn_does() -> None:
    made = texture()
    truth, guess = made.target, made.prediction.astype(np.float64)
    each = sk.r2_score(truth, guess, multioutput="raw_values")
    errors = sk.root_mean_squared_error(truth, guess, multioutput="raw_values")
    assert METRICS["r2"].value(made) == pytest.approx(np.mean(each), rel=1e-12)
    assert METRICS["r2"].value(made) == pytest.approx(sk.r2_score(truth, guess), rel=1e-12)
    assert METRICS["rmse"].value(made) == pytest.approx(np.mean(errors), rel=1e-12)
    scores = {(s.metric, s.output): s.value for s in all_scores(made, resamples=5)}
    assert len(scores) == 2 * 4
    for i, output in enumerate(("sand", "silt", "clay")):
        assert scores["r2", output] == pytest.approx(each[i], rel=1e-12)
        assert scores["rmse", output] == pytest.approx(errors[i], rel=1e-12)
    assert scores["r2", None] == METRICS["r2"].value(made)


@pytest.mark.parametrize("made", [crop(), landcover()], ids=["tile", "pixel"])
def test_scores_of_classes_equal_scikit_learn(made: Predictions) -> None:
    truth = made.target[:, 0].astype(int)
    guess = made.prediction[:, 0] if made.task.is_pixel else made.prediction.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class that is predicted and never true
        expected = {
            "accuracy": sk.accuracy_score(truth, guess),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
            "macro_f1": sk.f1_score(truth, guess, average="macro"),
            "miou": sk.jaccard_score(truth, guess, average="macro"),
        }
    for name, value in expected.items():
        assert METRICS[name].value(made) == pytest.approx(value, rel=1e-12), name


def test_scores_of_no_class_are_undefined() -> None:
    nothing = tile_predictions(OWN.tasks["crop"], [], np.zeros((0, 3)), np.zeros((0, 1)))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "miou"):
        assert np.isnan(METRICS[name].value(nothing))


@pytest.mark.parametrize("digits", [1, 2, 7])
def test_average_precision_and_recall_equal_scikit_learn(digits: int) -> None:
    made = multilabel(digits=digits)
    assert made.target.any(axis=0).all()
    each = sk.average_precision_score(made.target, made.prediction, average=None)
    assert average_precisions(made, np.ones((1, 80)))[0] == pytest.approx(each, rel=1e-12)
    assert METRICS["map"].value(made) == pytest.approx(np.mean(each), rel=1e-12)
    recall = sk.recall_score(made.target, made.prediction > 0.5, average="macro")
    assert METRICS["recall"].value(made) == pytest.approx(recall, rel=1e-12)


def test_labels_without_a_positive_are_left_out() -> None:
    target = np.zeros((4, 100))
    target[:2, 0] = 1
    guess = np.full((4, 100), 0.4)
    guess[:, 0] = [0.9, 0.1, 0.6, 0.2]
    made = tile_predictions(SPECIES, list("abcd"), guess, target)
    # By falling score: positive, other, other, positive: precision 1 at the first, 2/4 at the last.
    assert METRICS["map"].value(made) == pytest.approx((1 + 0.5) / 2)
    assert METRICS["recall"].value(made) == 0.5
    nothing = tile_predictions(SPECIES, list("abcd"), guess, np.zeros((4, 100)))
    assert np.isnan(METRICS["map"].value(nothing)) and np.isnan(METRICS["recall"].value(nothing))


def test_equal_targets_score_as_scikit_learn_says() -> None:
    level = np.full((5, 1), 0.1)  # not a sum of powers of two: means of it round
    off = tile_predictions(SOIL, list("abcde"), level + 1, level)
    exact = tile_predictions(SOIL, list("abcde"), np.float32(level), np.float32(level))
    assert METRICS["r2"].value(off) == sk.r2_score(level, level + 1) == 0
    assert METRICS["r2"].value(exact) == 1
    assert np.isnan(METRICS["r2"].value(regression(1)))


def test_far_from_zero_nothing_cancels() -> None:
    generator = np.random.default_rng(3)
    target = 1.6e9 + generator.normal(
        0, 100, (200, 1)
    )  # seconds since 1970, one place a few minutes
    guess = np.float32(1.6e9) + np.zeros((200, 1))
    made = tile_predictions(SOIL, [f"{i:03d}" for i in range(200)], guess, target)
    expected = sk.r2_score(target, made.prediction.astype(np.float64))
    assert METRICS["r2"].value(made) == pytest.approx(expected, rel=1e-9)


def test_a_prediction_that_is_no_number_has_no_score() -> None:
    made = regression(5)
    made.prediction[2] = np.inf
    assert all(np.isnan([s.value, s.low, s.high]).all() for s in score(made, resamples=10))


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (regression(), "r2"),
        (texture(), "r2"),
        (biomass(), "rmse"),
        (multilabel(40), "map"),
        (crop(), "macro_f1"),
        (landcover(), "miou"),
    ],
)
def test_a_resample_is_scored_as_if_its_tiles_were_written_out(
    made: Predictions, name: str
) -> None:
    weights = next(draws(len(made.key), 7, 5))
    found = METRICS[name].resampled(made, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        rows = np.repeat(np.arange(len(made)), row[made.sample])
        truth, guess = made.target[rows], made.prediction[rows].astype(np.float64)
        if made.task.kind == "classification":
            guess = made.classes[rows][:, None]
        formula = {
            "macro_f1": lambda t, p: sk.f1_score(t, p, average="macro"),
            "miou": lambda t, p: sk.jaccard_score(t, p, average="macro"),
            "r2": sk.r2_score,
            "rmse": sk.root_mean_squared_error,
            "map": lambda t, p: np.mean(
                [
                    sk.average_precision_score(t[:, i], p[:, i])
                    for i in np.flatnonzero(t.any(axis=0))
                ]
            ),
        }[name]
        assert value == pytest.approx(formula(truth, guess), rel=1e-9)


Arrays = dict[str, NDArray[np.generic]]


def reconstruction_arrays(n: int, seed: int) -> tuple[Arrays, Arrays, Arrays]:
    """Outputs, targets and masks of five kinds of modality, cut to 6 × 6 pixels."""
    generator = np.random.default_rng(seed)
    outputs, target, mask = {}, {}, {}
    for name in ("sentinel2", "aster_gdem", "dynamic_world", "temperature", "biome"):
        what = MMEARTH_BENCH.layers[name]
        size = (6, 6) if what.level == "pixel" else ()
        shape = (n, len(what.bands), *size)
        mask[name] = generator.random(shape) < 0.8
        if what.kind == "categorical":
            n_classes = len(what.classes)
            target[name] = generator.integers(0, n_classes, shape)
            outputs[name] = generator.random((n, n_classes, *size)).astype(np.float32)
        else:
            target[name] = (5000 + generator.normal(0, 1, shape)).astype(np.float32)
            outputs[name] = (target[name] + generator.normal(0, 0.5, shape)).astype(np.float32)
    return outputs, target, mask


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**20))
def test_reconstruction_is_the_same_however_batched(sizes: list[int], seed: int) -> None:
    n = sum(sizes)
    outputs, target, mask = reconstruction_arrays(n, seed)
    keys = [f"k{i:03d}" for i in np.random.default_rng(seed).permutation(n)]
    whole, ranks = Reconstruction(), [Reconstruction(), Reconstruction()]
    whole.update(outputs, target, mask, keys)
    begin = 0
    for i, size in enumerate(sizes):
        rows = slice(begin, begin + size)
        batch = [{m: a[rows] for m, a in part.items()} for part in (outputs, target, mask)]
        ranks[i % 2].update(*batch, keys[rows])
        ranks[1 - i % 2].update(*batch, keys[rows], np.zeros(size))  # padding: must not count
        begin += size
    ranks[1].merge(ranks[0])
    assert str(ranks[1].scores()) == str(whole.scores())  # bit for bit; text holds NaN equal


def test_reconstruction_equals_scikit_learn() -> None:
    outputs, target, mask = reconstruction_arrays(40, 1)
    seen = Reconstruction()
    for i in range(0, 40, 7):
        rows = slice(i, i + 7)
        parts = ({m: a[rows] for m, a in part.items()} for part in (outputs, target, mask))
        seen.update(*parts, [f"k{j}" for j in range(40)][rows])
    scores = seen.scores()
    assert list(scores) == [name for name in MMEARTH_BENCH.layers if name in outputs]
    for name in ("sentinel2", "aster_gdem", "temperature"):
        # In float64: scikit-learn's own float32 sums are good to seven digits only.
        truth, guess = (a[name][mask[name]].astype(np.float64) for a in (target, outputs))
        assert scores[name] == ("r2", pytest.approx(sk.r2_score(truth, guess), rel=1e-9))
    for name in ("dynamic_world", "biome"):
        guess = outputs[name].argmax(axis=1)[:, None][mask[name]]
        with np.errstate(all="ignore"):
            confusion = sk.confusion_matrix(target[name][mask[name]], guess)
            share = confusion.diagonal() / confusion.sum(axis=1)
        assert scores[name] == ("accuracy", pytest.approx(np.nanmean(share), rel=1e-9))


def test_bands_of_classes_are_scored_together() -> None:
    generator = np.random.default_rng(0)
    target = generator.integers(0, 3, (9, 2, 6, 6))
    outputs = generator.random((9, 6, 6, 6))  # three scores of the first band, then of the second
    seen = Reconstruction()
    mask = {"cover": np.ones(target.shape, np.bool_)}
    seen.update({"cover": outputs}, {"cover": target}, mask, [f"k{i}" for i in range(9)])
    said = np.stack([outputs[:, :3].argmax(axis=1), outputs[:, 3:].argmax(axis=1)], axis=1)
    expected = sk.balanced_accuracy_score(target.ravel(), said.ravel())
    assert seen.scores() == {"cover": ("accuracy", pytest.approx(expected))}


def test_reconstruction_of_nothing_valid_has_no_score() -> None:
    outputs, target, mask = reconstruction_arrays(3, 1)
    seen = Reconstruction()
    seen.update(outputs, target, {m: np.zeros_like(a) for m, a in mask.items()}, list("abc"))
    assert all(np.isnan(value) for _, value in seen.scores().values())


def test_moments_of_no_rows_are_empty() -> None:
    nothing = moments(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0, np.int64))
    assert nothing.n.shape == (0,)
