"""Datasets of other grids, layers and tasks than the published ones, through every way out."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch.nn import functional

import mmearth
from mmearth.catalog.catalogue import read_catalogue
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError
from mmearth.catalog.tile import Tile
from mmearth.loaders.collate import Batch
from mmearth.loaders.dataset import Dataset
from mmearth.loaders.inputs import ModalityInput, Normalisation
from mmearth.loaders.webdataset import pipeline
from mmearth.tests.hand_index import resealed, tar_members
from mmearth.tests.make_own import N_TILES, catalogue, is_missing, make_own, truth, values

RunCli = Callable[..., tuple[int, str, str]]
TASKS = tuple(catalogue(32).tasks)
LAYERS = tuple(catalogue(32).layers)
GRIDS = (32, 48, 144)
"""Pixels: the fewest, and those of which a band is no power of two and more than 128 × 128."""


@pytest.fixture(scope="module", params=GRIDS)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_own(tmp_path_factory.mktemp("own") / "dataset", request.param)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_own(tmp_path_factory.mktemp("own") / "dataset", 32)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    leave = shutil.ignore_patterns("store")
    return Path(shutil.copytree(small, tmp_path / "copy", copy_function=os.link, ignore=leave))


def numbered(dataset: Dataset) -> dict[str, int]:
    """Return which tile a sample's place is."""
    grid = dataset.catalogue.grid
    return {Tile.at(10.0 + i, 45.0, grid).id: i for i in range(N_TILES)}


def samples(dataset: Dataset, task: str, **how: Any) -> dict[int, tuple[Batch, int]]:
    """Return the batch and the place in it of each tile, read twice: checked, and known then."""
    loader, found = dataset.select(task).loader(3, **how), {}
    of = numbered(dataset)
    for _ in range(2):
        for batch in loader:
            for at, key in enumerate(batch["key"]):
                found[of[key.rpartition("_")[0]]] = batch, at
    assert sorted(found) == list(range(N_TILES))
    return found


def test_batches_hold_what_was_made(root: Path) -> None:
    dataset = mmearth.open(root)
    own, members = dataset.catalogue, tar_members(root, "height")
    for i, (batch, at) in samples(dataset, "height").items():
        assert set(batch) == {*LAYERS, "target", "mask", "weight", "key", "position"}
        for name, layer in own.layers.items():
            found, mask = batch[name][at].numpy(), batch["mask"][name][at].numpy()
            assert (found.shape, found.dtype) == (layer.shape, np.dtype(layer.dtype))
            if is_missing(name, i):
                assert not mask.any()
                continue
            made = values(layer, i)
            np.testing.assert_array_equal(found, made, err_msg=name)
            np.testing.assert_array_equal(mask, layer.valid(made), err_msg=name)
            if layer.is_pixel:
                member = np.load(io.BytesIO(members[f"{batch['key'][at]}.{name}.npy"]))
                np.testing.assert_array_equal(found, member)


def test_class_codes_become_indices(root: Path) -> None:
    dataset = mmearth.open(root)
    for i, (batch, at) in samples(dataset, "group", normalise="train").items():
        for name in ("cover", "soil", "deep", "zone"):
            layer = dataset.catalogue.layer(name)
            found, mask = batch[name][at].numpy(), batch["mask"][name][at].numpy()
            assert found.dtype == np.int64 and (found[~mask] == 0).all()
            if is_missing(name, i):
                assert not mask.any()
                continue
            made = values(layer, i)
            np.testing.assert_array_equal(mask, layer.valid(made), err_msg=name)
            codes = np.array(layer.codes)[found]
            np.testing.assert_array_equal(codes[mask], made[mask], err_msg=name)


def test_bands_of_several_scales_and_numbers_of_64_bits(root: Path) -> None:
    dataset = mmearth.open(root)
    statistics = dataset.statistics("group")["train"]["modalities"]
    for i, (batch, at) in samples(dataset, "group", normalise="train").items():
        for name in ("optical", "heat", "slope", "climate", "order"):
            layer = dataset.catalogue.layer(name)
            if is_missing(name, i):
                assert not batch[name][at].any()
                continue
            made = values(layer, i).astype(np.float64)
            axis = (-1, *(1,) * (made.ndim - 1))
            of = [statistics[name][band] for band in layer.band_names]
            mean, std = (np.array([b[k] for b in of]).reshape(axis) for k in ("mean", "std"))
            expected = np.where(layer.valid(made), (made - mean) / np.where(std, std, 1.0), 0.0)
            np.testing.assert_allclose(batch[name][at].numpy(), expected, rtol=1e-5, atol=2e-6)


def target_of(batch: Batch, at: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return batch["target"][at].numpy(), batch["mask"]["target"][at].numpy()


@pytest.mark.parametrize("normalise", [None, "train"])
def test_targets_without_pixels(small: Path, normalise: str | None) -> None:
    dataset = mmearth.open(small)
    for name in ("group", "texture", "crop", "birds"):
        task = dataset.catalogue.task(name)
        for i, (batch, at) in samples(dataset, name, normalise=normalise).items():
            plain, (found, mask) = truth(task, i), target_of(batch, at)
            assert mask.tolist() == [plain is not None] * len(found)
            if name == "crop":
                assert found.dtype == np.int64
                assert found.tolist() == [-100 if plain is None else task.outputs.index(plain)]
            elif plain is None:
                assert found.tolist() == [0.0, 0.0, 0.0]
            elif name == "birds":
                assert found.dtype == np.uint8
                assert [b for b, on in zip(task.outputs, found, strict=True) if on] == plain
            else:
                expected = list(plain.values()) if isinstance(plain, dict) else [plain]
                assert found.dtype == np.float32 and found.tolist() == expected


def test_targets_with_pixels(root: Path) -> None:
    dataset = mmearth.open(root)
    for name in ("parcels", "height"):
        target = dataset.catalogue.task(name).target
        for i, (batch, at) in samples(dataset, name).items():
            (found, mask), made = target_of(batch, at), values(target, i)[0]
            valid = target.valid(made) & (not is_missing(name, i))
            np.testing.assert_array_equal(mask, valid)
            expected = target.class_indices(made[valid]) if name == "parcels" else made[valid]
            assert found.dtype == (np.int64 if name == "parcels" else np.float32)
            np.testing.assert_array_equal(found[valid], expected)
            if name == "parcels":
                assert (found[~valid] == -100).all()


def test_a_loss_of_torch_leaves_out_what_is_unlabelled(small: Path) -> None:
    dataset = mmearth.open(small)
    draw = torch.Generator().manual_seed(0)
    for name, shape in (("parcels", (N_TILES, 3, 32, 32)), ("crop", (N_TILES, 3))):
        chosen = dataset.select(name)
        [batch] = chosen.loader(N_TILES)
        scores = torch.randn(shape, generator=draw)
        target = batch["target"] if name == "parcels" else batch["target"][:, 0]
        each = -scores.log_softmax(1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
        mask = batch["mask"]["target"].reshape(each.shape)
        assert not mask.all()
        found = functional.cross_entropy(scores, target)
        torch.testing.assert_close(found, each[mask].mean())


def test_no_data_of_zero_has_two_signs(small: Path) -> None:
    """Of which -0.0 has other bits, and means the same."""
    dataset = mmearth.open(small)
    for batch, at in samples(dataset, "group").values():
        assert batch["slope"][at, 0, 3, 3] == 0.0
        assert not batch["mask"]["slope"][at, 0, 3, 3]


def test_a_dataset_hands_out_its_own_layers(small: Path, run_cli: RunCli) -> None:
    dataset = mmearth.open(small)
    chosen = dataset.select("crop")
    assert chosen.query.modalities == LAYERS == tuple(chosen.index.layers)
    assert chosen.catalogue == read_catalogue(small)
    assert chosen.task.outputs == ("wheat", "maize", "rice")
    assert (chosen.index.task, chosen.index.grid) == (chosen.task, chosen.catalogue.grid)
    with pytest.raises(ConfigError, match="found modality 'sentinel2'; expected one of optical"):
        dataset.select("crop", modalities="sentinel2")
    code, out, err = run_cli("loaders", "peek", small, "--task", "parcels", "--modalities", "cover")
    assert (code, err) == (0, "") and "cover 100 %" in out and "labelled    87.5 %" in out
    assert "classification of class 0, class 4, class 9" in out
    n_bytes = (8 * (128 + 1024), 7 * (128 + 1024))
    assert dataset.select("parcels", modalities="cover").nbytes == sum(n_bytes)


def test_sql_has_a_view_a_task(small: Path) -> None:
    dataset = mmearth.open(small)
    ask = 'SELECT "left", zone, "order"."values"[1] AS n, {} FROM "{}" ORDER BY "left"'
    of = numbered(dataset)
    own = dataset.catalogue
    for task, target in (("group", "target"), ("texture", "texture"), ("crop", "crop")):
        rows = dataset.sql(ask.format(f"{target} AS truth, tile", task)).to_pylist()
        for row in rows:
            i = of[row["tile"]]
            assert row["truth"] == truth(own.task(task), i)
            assert row["n"] == (None if is_missing("order", i) else i)
    assert set(dataset.sql("SHOW TABLES")["name"].to_pylist()) > set(TASKS)
    assert dataset.select("crop", where="zone = 4").count == 3
    clay = dataset.select("texture", where="""texture."cl'ay" > 14""")
    assert clay.index.target is not None and (clay.index.target[:, 1] > 14).all() and len(clay) == 3


@pytest.mark.parametrize("task", TASKS)
def test_it_gives_what_stock_webdataset_gives(small: Path, task: str) -> None:
    selection = mmearth.open(small).select(task)
    shards = [str(small / name) for name in selection.index.shards]
    ours, theirs = list(pipeline(selection)), list(wds.WebDataset(shards, shardshuffle=False))
    assert len(ours) == len(theirs) == N_TILES
    for mine, other in zip(ours, theirs, strict=True):
        document, whole = json.loads(mine.pop("json")), json.loads(other.pop("json"))
        assert document == {name: whole[name] for name in document}
        other.pop("__local_path__", None)
        assert mine == other


def edited(copy: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Return a dataset whose catalogue says something else, sealed again."""
    path = copy / "catalogue.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.unlink()
    path.write_text(json.dumps(document))
    return resealed(copy, "catalogue.json")


@pytest.mark.parametrize("name", ["order", "slope"])
def test_statistics_without_a_band_that_samples_have(copy: Path, name: str) -> None:
    path = copy / "statistics" / "group.json"
    document = json.loads(path.read_bytes())
    del document["train"]["modalities"][name]
    path.unlink()
    path.write_text(json.dumps(document))
    chosen = mmearth.open(resealed(copy, "statistics/group.json")).select("group")
    with pytest.raises(FormatError, match=f"the statistics of train have no mean of {name}"):
        chosen.loader(4, normalise="train")


def test_a_catalogue_that_was_changed_or_is_missing(copy: Path) -> None:
    path = copy / "catalogue.json"
    data = path.read_bytes()
    path.unlink()
    asks: list[Callable[[Dataset], object]] = [
        lambda dataset: dataset.catalogue,
        lambda dataset: dataset.select("crop"),
        lambda dataset: dataset.sql("FROM crop"),
        lambda dataset: dataset.statistics("crop"),
    ]
    for ask in asks:
        with pytest.raises(FormatError, match=r"catalogue\.json is not there"):
            ask(mmearth.open(copy))
    path.write_bytes(data.replace(b"65535", b"65534").replace(b"-9999", b"-9998"))
    for ask in asks:
        with pytest.raises(IntegrityError, match=r"catalogue\.json: found SHA-256 .* was changed"):
            ask(mmearth.open(copy))
    path.write_bytes(b"{")
    with pytest.raises(FormatError, match=r"catalogue\.json is not JSON"):
        _ = mmearth.open(resealed(copy, "catalogue.json")).catalogue


def test_a_catalogue_that_sha256sums_does_not_name(copy: Path) -> None:
    lines = (copy / "SHA256SUMS").read_text().splitlines(keepends=True)
    (copy / "SHA256SUMS").unlink()
    (copy / "SHA256SUMS").write_text("".join(line for line in lines if "catalogue" not in line))
    with pytest.raises(FormatError, match=r"has no catalogue\.json: SHA256SUMS does not name it"):
        _ = mmearth.open(resealed(copy)).catalogue


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["tasks"].pop(), r"catalogue\.json has the tasks .*dataset\.json has .*height"),
        (lambda d: d["layers"].reverse(), r"has the modalities order, .*; expected the same"),
        (lambda d: d["layers"][0].update(name="../x"), "found the name '../x' of a layer or task"),
        (lambda d: d["layers"][0].update(dtype="object"), "dtype is 'object', expected one of"),
        (lambda d: d["tasks"][2].pop("target"), "has no 'target'; it is damaged"),
        (lambda d: d.pop("grid"), "has no 'grid'; it is damaged"),
        (lambda d: d["grid"].update(pixels=33), "pixels 33; expected a multiple of 16"),
    ],
)
def test_a_catalogue_that_contradicts(copy: Path, change: Any, said: str) -> None:
    root = edited(copy, change)
    for ask in (lambda dataset: dataset.catalogue, lambda dataset: dataset.sql("FROM crop")):
        with pytest.raises(FormatError, match=said) as raised:
            ask(mmearth.open(root))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # Other sizes than the members have, or other types than the columns.
        (lambda d: d["grid"].update(pixels=48), "expected 13952 at a multiple of 512"),
        (lambda d: d["layers"][0].update(dtype="int32"), "expected 12416 at a multiple of 512"),
        (lambda d: d["layers"][7].update(dtype="int32"), "column zone is int16, expected int32"),
        (lambda d: d["tasks"][0]["target"]["bands"][0].update(valid=[0, 1]), "expected 0 to 1"),
        (lambda d: d["layers"][1].update(nodata=None), "found valid_fraction of cover"),
        (lambda d: d["layers"][6]["bands"].pop(), "climate has samples with another number of"),
    ],
)
def test_a_catalogue_of_other_arrays(copy: Path, change: Any, said: str) -> None:
    root = edited(copy, change)
    with pytest.raises(FormatError, match=said) as raised:
        _ = mmearth.open(root).select("group").index
    assert "\n" not in str(raised.value)


def test_labels_that_are_no_class_of_the_catalogue(copy: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["tasks"][2]["target"]["classes"][0]["name"] = "barley"

    with pytest.raises(FormatError, match="found the label 'wheat', which the task does not have"):
        _ = mmearth.open(edited(copy, rename)).select("crop").index


def test_what_arrays_mean_is_the_datasets(copy: Path) -> None:
    """Another no-data value moves the masks of this dataset, and of no other."""

    def change(document: dict[str, Any]) -> None:
        document["layers"][1].update(nodata=41)

    before = mmearth.open(copy).select("group", modalities="cover")
    [batch] = before.loader(N_TILES)
    n_valid = int(batch["mask"]["cover"].sum())
    [other] = mmearth.open(edited(copy, change)).select("group", modalities="cover").loader(N_TILES)
    assert int(other["mask"]["cover"].sum()) > n_valid


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            ("cover", ("cover",), ("1",), None, (0.0,), (1.0,), 5),
            "tells 5 classes apart, the dataset has 4",
        ),
        (("optical", ("red",), ("1",), 1e-3, (0.0,), (1.0,)), "scale 0.001; expected 0.0001"),
        (("optical", ("green",), ("1",), None, (0.0,), (1.0,)), "optical has no band 'green'"),
        (("optical", ("thermal",), ("degC",), 1.0, (0.0,), (1.0,)), "unit 'degC', ours is 'K'"),
        (("optical", ("thermal",), ("K",), 1.0, (100.0,), (1.0,)), "is -10000 as stored"),
        (("cover", ("cover",), ("1",), None, (1.0,), (1.0,)), "categorical modality, which is not"),
    ],
)
def test_a_model_that_another_dataset_fits(small: Path, wanted: Any, said: str) -> None:
    chosen = mmearth.open(small).select("group", modalities=wanted[0])
    with pytest.raises(ConfigError, match=said):
        chosen.loader(4, normalise=Normalisation.of([ModalityInput(*wanted)]))
    with pytest.raises(ConfigError, match="the model declares nothing for order, which was"):
        mmearth.open(small).select("group", modalities="order").loader(
            4, normalise=Normalisation.of([])
        )


def test_a_model_of_physical_values(small: Path) -> None:
    """(stored × 0.01 + 200 - 250) / 10 K."""
    given = {"bands": "thermal", "unit": "K", "scale": 1, "mean": 250, "std": 10}
    dataset = mmearth.open(small)
    model = Normalisation.from_model({"optical": given, "cover": {"classes": 4}}, dataset.catalogue)
    chosen = dataset.select("group", modalities=["optical", "cover"])
    [batch] = chosen.loader(N_TILES, "sequential", normalise=model)
    [stored] = chosen.loader(N_TILES, "sequential")
    mask = batch["mask"]["optical"][:, 0]
    expected = (stored["optical"][:, 1].double() * 0.01 + 200 - 250) / 10
    torch.testing.assert_close(
        batch["optical"][:, 0].double()[mask], expected[mask], rtol=1e-5, atol=1e-5
    )
