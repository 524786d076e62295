"""Predictions: every sample once, in the order of the keys, and back from disk bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmearth.benchmark.predictions import (
    Predictions,
    merge_predictions,
    pixel_predictions,
    read_predictions,
    tile_predictions,
    write_predictions,
)
from mmearth.catalog.errors import DataError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.task import Task
from mmearth.tests.make_tiny import OWN

SOIL, SPECIES, BIOMASS = (MMEARTH_BENCH.tasks[name] for name in ("soil_pH", "species", "biomass"))


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def pixels(keys: list[str], labelled: list[tuple[int, int, int]], value: float) -> Predictions:
    """Predict `value` everywhere; the target is the tile's position, at the pixels named."""
    shape = (len(keys), 128, 128)
    mask = np.zeros(shape, np.bool_)
    for place in labelled:
        mask[place] = True
    target = np.broadcast_to(np.arange(len(keys), dtype=np.float32)[:, None, None], shape)
    return pixel_predictions(BIOMASS, keys, np.full(shape, value, np.float32), target, mask)


def same(one: Predictions, other: Predictions) -> bool:
    names = ("key", "sample", "pixel", "prediction", "target")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_tiles_are_sorted_and_padding_is_dropped() -> None:
    made = tile_predictions(
        SOIL, ["c", "a", "b"], column(3, 1, 2), column(6, 4, 5), np.array([1, 1, 0])
    )
    assert made.key.tolist() == ["a", "c"]
    assert made.prediction.ravel().tolist() == [1, 3]
    assert made.target.ravel().tolist() == [4, 6]
    assert made.pixel.tolist() == [-1, -1]


def test_pixels_are_those_labelled() -> None:
    made = pixels(["b", "a", "none"], [(0, 1, 2), (0, 0, 5), (1, 127, 127)], 7)
    assert made.key.tolist() == ["a", "b"]  # `none` has no labelled pixel
    assert made.sample.tolist() == [0, 1, 1]
    assert made.pixel.tolist() == [127 * 128 + 127, 5, 128 + 2]
    assert made.target.ravel().tolist() == [1, 0, 0]


def test_merge_keeps_the_first_of_a_repeated_sample() -> None:
    one = tile_predictions(SOIL, ["b", "a"], column(2, 1), column(5, 4))
    other = tile_predictions(SOIL, ["c", "a"], column(3, 9), column(6, 4))
    merged = merge_predictions([one, other])
    assert merged.key.tolist() == ["a", "b", "c"]
    assert merged.prediction.ravel().tolist() == [1, 2, 3]


def test_merge_does_not_depend_on_the_batches() -> None:
    keys = [f"k{i:02d}" for i in np.random.default_rng(0).permutation(20)]
    values = np.random.default_rng(1).random((20, 1)).astype(np.float32)
    whole = tile_predictions(SOIL, keys, values, values * 2)
    for size in (1, 3, 7):
        parts = [
            tile_predictions(
                SOIL, keys[i : i + size], values[i : i + size], values[i : i + size] * 2
            )
            for i in range(0, 20, size)
        ]
        assert same(merge_predictions(parts[::-1]), whole)


def test_pixels_of_one_sample_may_come_in_several_parts() -> None:
    one, other = pixels(["a"], [(0, 0, 1), (0, 0, 7)], 2), pixels(["a"], [(0, 0, 1), (0, 0, 4)], 3)
    merged = merge_predictions([pixels(["b"], [(0, 0, 2)], 5), one, other])
    assert merged.sample.tolist() == [0, 0, 0, 1]
    assert merged.pixel.tolist() == [1, 4, 7, 2]
    assert merged.prediction.ravel().tolist() == [2, 3, 2, 5]  # of pixel 1 the first


def test_two_truths_of_one_sample_are_refused() -> None:
    one = tile_predictions(SOIL, ["a"], column(1), column(4))
    other = tile_predictions(SOIL, ["a"], column(1), column(5))
    with pytest.raises(DataError, match="sample a comes twice"):
        merge_predictions([one, other])
    with pytest.raises(DataError, match="expected those of one task"):
        merge_predictions([])


def test_shapes_are_checked() -> None:
    with pytest.raises(DataError, match=r"expected \(1, 100\)"):
        tile_predictions(SPECIES, ["a"], column(1), column(1))
    with pytest.raises(DataError, match=r"prediction has shape \(1, 1\), expected \(1, 3\)"):
        tile_predictions(OWN.tasks["crop"], ["a"], column(1), column(1))
    with pytest.raises(DataError, match=r"target has shape \(1, 3\), expected \(1, 1\)"):
        tile_predictions(OWN.tasks["crop"], ["a"], np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(DataError, match=r"expected \(1, 128, 128\)"):
        pixel_predictions(BIOMASS, ["a"], column(1), column(1), column(1) > 0)


def test_an_output_is_a_task_of_its_own() -> None:
    numbers = np.arange(6.0).reshape(2, 3)
    made = tile_predictions(OWN.tasks["texture"], ["a", "b"], numbers, 10 * numbers).of_output(1)
    assert made.task.outputs == ("silt",)
    assert made.prediction.tolist() == [[1], [4]] and made.target.tolist() == [[10], [40]]


def of_kind(task: Task) -> Predictions:
    """Predictions of three tiles, of pixels each a few."""
    generator = np.random.default_rng(2)
    n, widths = len(task.outputs), (len(task.outputs), len(task.target.bands))
    if task.is_pixel:
        shape = (3, *task.shape)
        values = generator.random(shape), generator.integers(0, n, shape)
        return pixel_predictions(task, ["b", "c", "a"], *values, generator.random(shape) < 0.01)
    target = generator.integers(0, max(n, 2), (3, widths[1]))
    return tile_predictions(task, ["b", "c", "a"], generator.random((3, widths[0])), target)


@pytest.mark.parametrize(
    "task", [SOIL, SPECIES, BIOMASS, *OWN.tasks.values()], ids=lambda task: task.name
)
def test_file_gives_back_the_same_and_its_bytes_repeat(task: Task, tmp_path: Path) -> None:
    made = of_kind(task)
    for name in ("one", "other"):
        write_predictions(made, tmp_path / name)
    assert same(read_predictions(tmp_path / "one", task), made)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    from mmearth.catalog.schema import tiles_schema, write_table

    write_table(tiles_schema([]).empty_table(), tmp_path / "tiles.parquet", tiles_schema([]))
    with pytest.raises(FormatError, match="does not hold predictions"):
        read_predictions(tmp_path / "tiles.parquet", SOIL)
    with pytest.raises(FormatError):
        read_predictions(tmp_path / "absent.parquet", SOIL)
    write_predictions(of_kind(SOIL), tmp_path / "soil.parquet")
    with pytest.raises(FormatError, match="does not hold predictions of yields"):
        read_predictions(tmp_path / "soil.parquet", OWN.tasks["yields"])


def test_tile_predictions_spread_over_labelled_pixels() -> None:
    truth = pixels(["b", "a"], [(0, 0, 0), (0, 0, 1), (1, 9, 9)], 0)
    spread = truth.with_tiles(["z", "b", "a"], column(100, 20, 10))
    assert spread.prediction.ravel().tolist() == [10, 20, 20]
    assert np.array_equal(spread.target, truth.target)
    with pytest.raises(DataError, match="sample b has no prediction"):
        truth.with_tiles(["a"], column(1))
    with pytest.raises(DataError, match="has no prediction"):
        truth.with_tiles([], np.zeros((0, 1)))
