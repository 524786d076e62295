"""How many samples and seeds a difference needs, against numbers from tables of Student's t."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from mmearth.benchmark.cli import cli
from mmearth.benchmark.paired import Spread
from mmearth.benchmark.power import Need, detectable, need, power_of
from mmearth.benchmark.report.cells import scores_of
from mmearth.benchmark.results import RESULTS, read_results
from mmearth.catalog.catalogue import write_catalogue
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.schema import write_table
from mmearth.tests.unit.benchmark.made_up_results import write_matrix


def test_least_difference_is_that_of_the_t_test() -> None:
    # 10 samples, 9 degrees of freedom: t 2.2622 and 0.8834 (80 %); 4 seeds, 3: 3.1824 and 0.9785.
    assert detectable(Spread(0.4, 0, 0), 10, 4) == pytest.approx(0.2 * 3.1456, rel=1e-4)
    assert detectable(Spread(0, 0.4, 0), 10, 4) == pytest.approx(0.1 * 3.1456, rel=1e-4)
    assert detectable(Spread(0, 0, 0.4), 10, 4) == pytest.approx(math.sqrt(0.1) * 4.1609, rel=1e-4)
    both = math.hypot(0.2 * 3.1456, math.sqrt(0.1) * 4.1609)
    assert detectable(Spread(0.4, 0, 0.4), 10, 4) == pytest.approx(both, rel=1e-4)
    assert math.isnan(detectable(Spread(1, 0, 1), 1, 4))


def test_what_is_needed_is_enough_and_one_less_is_not() -> None:
    spread = Spread(0.02, 0.01, 0.0004)
    found = need(spread, 100, 5, 0.05)
    assert found.samples and found.seeds and found.both
    assert detectable(spread, found.samples, 5) <= 0.05 < detectable(spread, found.samples - 1, 5)
    assert detectable(spread, 100, found.seeds) <= 0.05 < detectable(spread, 100, found.seeds - 1)
    assert detectable(spread, *found.both) <= 0.05
    # Large samples and many seeds: (1.96 + 0.8416)² × variance / 0.01².
    many = need(Spread(0.02, 0, 0), 50, 1000, 0.01)
    assert many.samples == pytest.approx(7.8489 * 0.02 / 0.01**2, rel=0.01)


def test_seeds_that_differ_too_much_cannot_be_made_up_for_by_samples() -> None:
    found = need(Spread(0.02, 0, 0.001), 50, 3, 0.01)
    assert found.samples is None and found.seeds is None and found.both is not None
    assert need(Spread(0.02, 0, math.nan), 50, 1, 0.01) == Need(0.01, None, None, None)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("matrix")
    write_matrix(out, ("soil_pH",), ("convnext",), seeds=3, n=20, resamples=2)
    return out


def test_the_command_says_it_in_text_and_json(matrix: Path) -> None:
    text = CliRunner().invoke(cli, ["power", str(matrix)])
    assert text.exit_code == 0, text.output
    lines = text.stdout.splitlines()
    assert len(lines) == 2 + 2 * 2 * 3  # a header; methods, splits, differences
    assert lines[2].split()[:6] == ["soil_pH", "convnext", "geographic", "TTT-MMR", "20", "3"]
    found = json.loads(CliRunner().invoke(cli, ["power", str(matrix), "--json"]).stdout)
    assert [each["method"] for each in found] == ["TTT-MMR", "TTT-MMR-Geo"] * 2
    assert [each["difference"] for each in found[0]["needs"]] == [0.01, 0.02, 0.05]
    other = json.loads(
        CliRunner().invoke(cli, ["power", str(matrix), "--json", "--reference", "LP"]).stdout
    )
    assert {each["method"] for each in other} == {"TTT-MMR", "TTT-MMR-Geo"}


def test_without_adaptation_the_other_methods_are_compared(matrix: Path) -> None:
    rows = read_results(matrix / "results.parquet").to_pylist()
    plain = [r for r in rows if not r["method"].startswith("TTT") and r["seed"] == 41]
    table = pa.Table.from_pylist(plain, schema=RESULTS)
    found = power_of(scores_of(table, MMEARTH_BENCH, matrix / "runs"))
    assert {each.method for each in found} == {"LP", "FT"}
    assert all(math.isnan(each.detectable) for each in found)  # of one seed
    with pytest.raises(ConfigError, match="no method was run with XX on the same"):
        power_of(scores_of(table, MMEARTH_BENCH, matrix / "runs"), "XX")
    with pytest.raises(ConfigError, match="left finite predictions"):
        power_of(scores_of(table, MMEARTH_BENCH, matrix / "elsewhere"))


def test_what_was_not_adapted_has_no_variance_to_learn_from(matrix: Path, tmp_path: Path) -> None:
    rows = read_results(matrix / "results.parquet").to_pylist()
    still = [{**r, "steps": 0} if r["method"] == "TTT-MMR" else r for r in rows]
    shutil.copytree(matrix / "runs", tmp_path / "runs")
    scores = scores_of(
        pa.Table.from_pylist(still, schema=RESULTS), MMEARTH_BENCH, tmp_path / "runs"
    )
    assert [each.needs == () for each in power_of(scores)] == [True, False] * 2
    write_table(scores.table, tmp_path / "results.parquet", RESULTS)
    write_catalogue(tmp_path, MMEARTH_BENCH)
    text = CliRunner().invoke(cli, ["power", str(tmp_path)]).stdout
    assert text.count("K = 0: not adapted") == 2


def test_what_never_differs_has_no_variance_to_learn_from(matrix: Path, tmp_path: Path) -> None:
    shutil.copytree(matrix, tmp_path, dirs_exist_ok=True)
    rows = read_results(matrix / "results.parquet").to_pylist()
    runs = {(r["method"], r["seed"]): tmp_path / "runs" / r["config_hash"] for r in rows}
    for (method, seed), run in runs.items():
        if method == "TTT-MMR":
            plain = runs["JT", seed] / "predictions"
            shutil.copytree(plain, run / "predictions", dirs_exist_ok=True)
    text = CliRunner().invoke(cli, ["power", str(tmp_path)]).stdout
    assert text.count("no difference found") == 2  # splits
