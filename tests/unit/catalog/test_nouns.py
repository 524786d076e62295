"""Modalities, tasks, classes and the tables: what they promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmearth.catalog.ecoregions import BIOMES, ECOREGIONS, biome_id, ecoregion_id
from mmearth.catalog.errors import ConfigError, DataError, FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.sample import Observation
from mmearth.catalog.schema import (
    VERSION_KEY,
    manifest_schema,
    read_table,
    tiles_schema,
    write_table,
)
from mmearth.catalog.tile import Tile

TILE = Tile(32633, 500_000, 4_649_760)


def test_the_twelve_and_the_five_in_the_published_order() -> None:
    names = (
        "sentinel2 sentinel1 aster_gdem eth_gch dynamic_world esa_worldcover precipitation "
        "temperature geolocation month biome ecoregion"
    )
    assert list(MMEARTH_BENCH.layers) == names.split()
    five = "biomass soil_nitrogen soil_organic_carbon soil_pH species"
    assert list(MMEARTH_BENCH.tasks) == five.split()
    assert not any(task.optional for task in MMEARTH_BENCH.tasks.values())


@pytest.mark.parametrize(
    ("name", "shape", "nodata"),
    [
        ("sentinel2", (12, 128, 128), 65535),
        ("sentinel1", (8, 128, 128), -9999),
        ("aster_gdem", (2, 128, 128), -9999),
        ("eth_gch", (2, 128, 128), 255),
        ("dynamic_world", (1, 128, 128), 9),
        ("esa_worldcover", (1, 128, 128), 11),
        ("precipitation", (3,), -9999),
        ("temperature", (9,), -9999),
        ("geolocation", (4,), None),
        ("month", (2,), None),
        ("biome", (1,), 14),
        ("ecoregion", (1,), 846),
    ],
)
def test_published_shapes_and_no_data(name: str, shape: tuple[int, ...], nodata: float) -> None:
    modality = MMEARTH_BENCH.layers[name]
    assert modality.shape == shape
    assert modality.nodata == nodata
    assert modality.licence
    assert modality.citation
    if modality.kind == "categorical":
        codes = [entry.code for entry in modality.classes]
        assert codes == list(range(len(codes)))
        assert nodata == len(codes)  # the next code means absent


def test_ecoregions_have_the_published_ids() -> None:
    assert len(ECOREGIONS) == 846
    names = [region.name for region in ECOREGIONS]
    assert names == sorted(names)
    assert tuple(sorted(BIOMES)) == BIOMES
    assert (BIOMES[0], BIOMES[13]) == ("Boreal Forests/Taiga", "Tundra")
    assert ecoregion_id("Adelie Land tundra") == 0
    assert biome_id("Mangroves") == 3
    assert {region.biome for region in ECOREGIONS} == set(range(14))
    with pytest.raises(ConfigError, match="Rock and Ice"):
        ecoregion_id("Rock and Ice")


def test_species_have_the_published_ids() -> None:
    outputs = MMEARTH_BENCH.tasks["species"].outputs
    assert len(set(outputs)) == 100
    assert (outputs[0], outputs[12], outputs[94]) == (
        "Mus musculus",
        "Panthera leo",
        "Gerbillus andersoni",
    )


def test_arrays_that_break_the_contract_are_refused() -> None:
    modality = MMEARTH_BENCH.layers["temperature"]
    good = np.full(9, 280.0)
    modality.check(good)
    with pytest.raises(DataError, match=r"found float32 \(9,\), expected float64 \(9,\)"):
        modality.check(good.astype(np.float32))
    with pytest.raises(DataError, match=r"found values 7 to 7 K, expected 150 to 350"):
        modality.check(np.full(9, 7.0))  # degrees Celsius
    with pytest.raises(DataError):
        modality.check(np.full(9, np.nan))
    half = np.full(9, 280.0)
    half[3] = -9999
    modality.check(half)
    assert Observation(MMEARTH_BENCH.layers["temperature"], half).valid_fraction == 8 / 9
    with pytest.raises(DataError, match="nothing in the target is labelled"):
        MMEARTH_BENCH.tasks["biomass"].check(np.full((128, 128), -9999, dtype=np.float32))
    with pytest.raises(DataError, match=r"soil_pH: there is no target; expected \(1,\)"):
        MMEARTH_BENCH.tasks["soil_pH"].check(None)
    replace(MMEARTH_BENCH.tasks["soil_pH"], optional=True).check(None)
    with pytest.raises(DataError, match="found values inf to inf 1, expected 0 to 14"):
        MMEARTH_BENCH.tasks["soil_pH"].check(np.array([np.inf], np.float32))
    with pytest.raises(ConfigError, match="has no band 'B10'"):
        MMEARTH_BENCH.layers["sentinel2"].index(("B4", "B10"))
    assert MMEARTH_BENCH.layers["sentinel2"].index(("B4", "B8A")) == [3, 8]


def test_tables_say_their_version(tmp_path: Path) -> None:
    path = tmp_path / "tiles.parquet"
    schema = tiles_schema(MMEARTH_BENCH.tasks.values())
    write_table(schema.empty_table(), path, schema)
    assert read_table(path).num_rows == 0
    with pytest.raises(FormatError, match="is not there"):
        read_table(tmp_path / "other.parquet")
    path.write_bytes(b"PAR1 not parquet")
    with pytest.raises(FormatError, match="not a readable Parquet file"):
        read_table(path)
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({VERSION_KEY: b"9.0"}), path)
    with pytest.raises(FormatError, match=r"schema version 9\.0, this mmearth reads 2\.1"):
        read_table(path)


def test_manifest_has_a_struct_for_every_modality() -> None:
    biomass, soil, species = (
        manifest_schema(MMEARTH_BENCH.tasks[name], MMEARTH_BENCH.layers.values())
        for name in ("biomass", "soil_pH", "species")
    )
    for name in MMEARTH_BENCH.layers:
        column = f"{name}_observation" if name in ("biome", "ecoregion") else name
        assert pa.types.is_struct(species.field(column).type)
    assert pa.types.is_int16(species.field("biome").type)
    assert pa.types.is_list(species.field("species").type)
    assert pa.types.is_float64(soil.field("target").type)
    assert pa.types.is_struct(biomass.field("biomass").type)
