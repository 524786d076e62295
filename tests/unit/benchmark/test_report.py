"""The report: all sections from made-up runs, what lacks is said, and the same bytes again."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmearth.benchmark.metrics import METRICS
from mmearth.benchmark.power import power_of
from mmearth.benchmark.predictions import (
    read_predictions,
    tile_predictions,
    write_predictions,
)
from mmearth.benchmark.report.cells import axis_of, scores_of
from mmearth.benchmark.report.content import (
    Document,
    Section,
    Table,
    interval_text,
    number,
    signed,
    spread,
)
from mmearth.benchmark.report.html import to_html
from mmearth.benchmark.report.markdown import to_markdown
from mmearth.benchmark.report.performance import _ranks
from mmearth.benchmark.report.svg import scale_of
from mmearth.benchmark.report.writing import SECTIONS, report
from mmearth.benchmark.results import RESULTS, read_results, run_folder
from mmearth.benchmark.traces import (
    BATCHES,
    RECONSTRUCTION,
    predictions_path,
    read_trace,
    write_batches,
)
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.catalog.task import Task
from mmearth.tests.make_tiny import OWN
from mmearth.tests.unit.benchmark.made_up_results import setting, write_matrix

ROOT = Path(__file__).resolve().parents[3]
TASKS_MADE = ("biomass", "soil_pH", "species")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("matrix")
    write_matrix(out, TASKS_MADE, ("convnext", "terramind"), seeds=2, n=20, resamples=10)
    report(read_results(out / "results.parquet"), MMEARTH_BENCH, out / "runs", out)
    return out


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def row(text: str, *labels: str) -> list[str]:
    start = "| " + " | ".join(labels) + " |"
    lines = [line for line in text.splitlines() if line.startswith(start)]
    assert len(lines) == 1, (start, lines)
    return [cell.strip() for cell in lines[0].strip("|").split("|")][len(labels) :]


def test_all_sections_have_their_say(matrix: Path) -> None:
    page = (matrix / "report.md").read_text()
    # Classes and outputs are of kinds of task that these are not.
    assert len(re.findall("^## ", page, re.M)) == len(SECTIONS) - 2
    assert "Left out" not in page
    assert "3 tasks, 2 encoders, 5 methods" in page


def test_scores_are_means_over_seeds(matrix: Path) -> None:
    values = []
    for seed in (41, 42):
        folder = run_folder(matrix, setting("soil_pH", "terramind", "JT", 100, seed))
        path = predictions_path(folder, "random_test")
        made = read_predictions(path, MMEARTH_BENCH.tasks["soil_pH"])
        values.append(METRICS["r2"].value(made))
    text = section((matrix / "report.md").read_text(), "Scores").split("**soil_pH")[1]
    cells = row(text.split("**species")[0], "terramind", "JT")
    error = abs(values[0] - values[1]) / 2
    assert cells[:2] == ["train, validation labels", "2"]
    assert cells[2].strip("*") == spread(math.fsum(values) / 2, error)


def test_the_best_is_bold_and_comes_first(matrix: Path) -> None:
    text = section((matrix / "report.md").read_text(), "Scores").split("**soil_pH")[1]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("**species")[0].splitlines()
        if line.startswith(("| terramind", "| convnext", "| baseline"))
    ]
    means = [float(row[4].strip("*").split(" ± ")[0].replace("−", "-")) for row in rows[:10]]
    assert means == sorted(means, reverse=True)
    assert [row[4].startswith("**") for row in rows] == [True] + [False] * 12
    assert {row[0] for row in rows[10:]} == {"baseline"}
    assert rows[0][2] == "train, validation labels, test inputs"
    for column in (4, 6, 9, 10):
        assert sum(row[column].startswith("**") for row in rows) == 1
    assert "<strong>" in (matrix / "report.html").read_text()


def test_a_partial_matrix_is_told_and_not_ranked(matrix: Path, tmp_path: Path) -> None:
    text = (matrix / "report.md").read_text()
    # 3 tasks, 2 encoders, 2 seeds; LP and FT at 3 percentages each, 3 others at one.
    assert "All 108 runs" in section(text, "Completeness")
    assert row(section(text, "Ranks").split("geographic")[0], "JT", "terramind")[0] != "–"
    kept = [
        r
        for r in read_results(matrix / "results.parquet").to_pylist()
        if (r["task"], r["encoder"], r["method"], r["seed"]) != ("soil_pH", "terramind", "JT", 42)
    ]
    report(pa.Table.from_pylist(kept, schema=RESULTS), MMEARTH_BENCH, matrix / "runs", tmp_path)
    page = (tmp_path / "report.md").read_text()
    found = section(page, "Completeness")
    assert "of 108 runs of encoders 1 are missing" in found
    assert row(found, "soil_pH", "terramind", "JT", "100 %") == ["41", "42"]
    scores = section(page, "Scores").split("**soil_pH")[1].split("**species")[0]
    assert row(scores, "terramind", "JT")[1] == "1 of 2"
    ranks = section(page, "Ranks").split("geographic")[0]
    assert row(ranks, "JT", "terramind")[1] == row(ranks, "JT", "convnext")[1] == "–"
    assert row(ranks, "FT", "terramind")[1] == "1.0"


def test_a_task_that_has_only_baselines_is_missing_too(matrix: Path, tmp_path: Path) -> None:
    kept = [
        r
        for r in read_results(matrix / "results.parquet").to_pylist()
        if r["encoder"] == "baseline" or r["task"] != "species"
    ]
    report(pa.Table.from_pylist(kept, schema=RESULTS), MMEARTH_BENCH, matrix / "runs", tmp_path)
    found = section((tmp_path / "report.md").read_text(), "Completeness")
    assert "of 108 runs of encoders 36 are missing" in found
    assert row(found, "species", "convnext", "LP", "5 %") == ["–", "41, 42"]


def test_legends_name_only_what_is_drawn(matrix: Path, tmp_path: Path) -> None:
    kept = [
        r
        for r in read_results(matrix / "results.parquet").to_pylist()
        if r["method"] != "TTT-MMR-Geo"
    ]
    report(pa.Table.from_pylist(kept, schema=RESULTS), MMEARTH_BENCH, matrix / "runs", tmp_path)
    assert "TTT-MMR-Geo" not in (tmp_path / "report.html").read_text()


def test_deltas_and_tests_agree_with_the_table(matrix: Path) -> None:
    table = read_results(matrix / "results.parquet").to_pylist()
    chosen = {
        (r["method"], r["seed"]): r["value"]
        for r in table
        if (r["task"], r["encoder"], r["split"], r["metric"], r["fraction"])
        == ("soil_pH", "convnext", "random_test", "r2", 100)
    }
    gains = [chosen["TTT-MMR", seed] - chosen["JT", seed] for seed in (41, 42)]
    text = section((matrix / "report.md").read_text(), "Test-time training against joint training")
    cells = row(text, "soil_pH", "convnext", "random", "TTT-MMR")
    seen, steps, seeds, difference, *ends = cells
    assert seen == "train, validation labels, test inputs"
    assert (seeds, difference.split(" ± ")[0]) == ("2", signed(sum(gains) / 2, 4))
    assert all(re.fullmatch(r"−?\d\.\d{4} to −?\d\.\d{4}", interval) for interval in ends)
    assert steps == ", ".join(
        str(r["steps"])
        for r in sorted(table, key=lambda r: r["seed"])
        if (r["task"], r["encoder"], r["method"], r["split"], r["metric"])
        == ("soil_pH", "convnext", "TTT-MMR", "random_test", "r2")
    )
    # Two encoders × two seeds, all gains: one of 2⁴ patterns; Holm over 3 × 2 × 2 tests.
    tests = row(text, "soil_pH", "random", "TTT-MMR")
    assert tests[:2] == ["4", "0"] and tests[3] == "0.0625"
    # At best Holm's factor 12 is on all of them: 12 / 16.
    assert tests[5:] == ["0.7500", "cannot: too few pairs"]
    assert "12 of 12 tests cannot come out" in text and "at least 8 pairs" in text


def test_what_was_not_adapted_is_said(matrix: Path, tmp_path: Path) -> None:
    table = read_results(matrix / "results.parquet").to_pylist()
    scores = {
        (r["task"], r["encoder"], r["seed"], r["split"], r["metric"]): r["value"]
        for r in table
        if r["method"] == "JT"
    }
    for r in table:
        if r["method"] == "TTT-MMR" and (r["encoder"] == "convnext" or r["seed"] == 41):
            place = (r["task"], r["encoder"], r["seed"], r["split"], r["metric"])
            r |= {"value": scores[place], "steps": 0}
    report(pa.Table.from_pylist(table, schema=RESULTS), MMEARTH_BENCH, matrix / "runs", tmp_path)
    page = (tmp_path / "report.md").read_text()
    text = section(page, "Test-time training against joint training")
    found = row(text, "soil_pH", "convnext", "random", "TTT-MMR")
    assert found[1:] == ["0, 0", "2", "K = 0: not adapted", "–", "–"]
    assert row(text, "soil_pH", "terramind", "random", "TTT-MMR")[1].startswith("0, ")
    answers = section(page, "Should test-time training be used here?")
    found = row(answers, "soil_pH", "convnext", "random", "TTT-MMR")
    assert found[0] == "K = 0: not adapted" and found[2:4] == ["–", "–"] and float(found[4]) > 0
    assert re.fullmatch(r"(\S+) → \1( †)?", found[1])
    assert re.search(r"24 comparisons .*; K = 0: not adapted: 6, ", answers)
    tests = row(text, "soil_pH", "random", "TTT-MMR")
    assert tests[:2] == ["4", "3"] and tests[3] == "0.5000" and tests[5] == "1.0000"


def test_the_answer_follows_from_the_interval(tmp_path: Path) -> None:
    table = write_matrix(tmp_path, ("soil_pH",), ("convnext",), 3, n=60, resamples=5)
    task = MMEARTH_BENCH.tasks["soil_pH"]
    for seed in (41, 42, 43):
        folders = {
            method: run_folder(tmp_path, setting("soil_pH", "convnext", method, 100, seed))
            for method in ("JT", "TTT-MMR", "TTT-MMR-Geo")
        }
        joint = read_predictions(predictions_path(folders["JT"], "random_test"), task)
        for method, share in (("TTT-MMR", 0.5), ("TTT-MMR-Geo", 2.0)):  # of the error of JT
            said = joint.target + share * (joint.prediction - joint.target)
            path = predictions_path(folders[method], "random_test")
            write_predictions(replace(joint, prediction=said.astype(np.float32)), path)
    rows = table.to_pylist()
    for each in rows:  # below the mean of train
        each["value"] -= 2.0 * (each["metric"] == "r2" and each["method"] == "TTT-MMR-Geo")
    table = pa.Table.from_pylist(rows, table.schema)
    report(table, MMEARTH_BENCH, tmp_path / "runs", tmp_path)
    text = section((tmp_path / "report.md").read_text(), "Should test-time training be used here?")
    found = {m: row(text, "soil_pH", "convnext", "random", m)[:2] for m in list(folders)[1:]}
    assert {m: cells[0] for m, cells in found.items()} == {
        "TTT-MMR": "helps",
        "TTT-MMR-Geo": "harms",
    }
    assert [m for m, cells in found.items() if cells[1].endswith(" †")] == ["TTT-MMR-Geo"]
    assert "In 2 of them (†) the adapted score is still below the baseline `mean`" in text


def test_the_cosine_is_held_against_the_gains(tmp_path: Path) -> None:
    write_matrix(tmp_path, ("soil_pH",), ("convnext",), 1, n=12, resamples=2)
    folder = run_folder(tmp_path, setting("soil_pH", "convnext", "TTT-MMR", 100, 41))
    rows = read_trace(folder, "batches.parquet", BATCHES)
    for i, each in enumerate(r for r in rows if r["split"] == "val"):
        each |= {"cosine": (i - 3) / 50, "task_loss_before": 1.0, "task_loss_after": 0.9 - i**3}
    write_batches(folder, rows)
    table = read_results(tmp_path / "results.parquet")
    report(table, MMEARTH_BENCH, tmp_path / "runs", tmp_path)
    text = section((tmp_path / "report.md").read_text(), "Should test-time training be used here?")
    # Of 12 batches the cosines -0.06 to 0.16 rise with the gains; one run has no rank over seeds.
    text = text.split("Agreement")[1]
    assert row(text, "soil_pH", "convnext", "TTT-MMR") == ["12", "0.05", "0.67", "1.00", "–", "–"]


def test_an_oracle_is_a_bound_and_no_result(tmp_path: Path) -> None:
    encoders = ("convnext", "terramind")
    table = write_matrix(tmp_path, ("soil_pH",), encoders, 2, n=20, resamples=5)
    rows = table.to_pylist()
    for r in rows:
        if r["method"] == "TTT-MMR-Geo":  # as if it had been one, and the best by far
            r |= {"method": "TTT-MMR-Geo-oracle", "value": 0.99, "steps": None}
    oracle = pa.Table.from_pylist(rows, schema=RESULTS)
    report(oracle, MMEARTH_BENCH, tmp_path / "runs", tmp_path)
    page = (tmp_path / "report.md").read_text()
    scores = section(page, "Scores")
    cells = row(scores, "terramind", "TTT-MMR-Geo-oracle")
    assert cells[0] == "train, validation labels, test inputs, test labels"
    assert "0.990" in cells[2] and "**" not in "".join(cells)
    encoder = [line.split(" | ")[0] for line in scores.splitlines() if line.startswith("| ")]
    assert encoder[10:12] == ["| convnext", "| terramind"]  # after the eight others
    assert "oracle" not in section(page, "Ranks")
    differences = section(page, "Test-time training against joint training")
    assert "TTT-MMR-Geo-oracle" in differences.split("Wilcoxon")[0]
    assert "oracle" not in differences.split("Wilcoxon")[1]
    answers = section(page, "Should test-time training be used here?")
    assert "oracle" not in answers.split("Agreement")[0]
    found = power_of(scores_of(oracle, MMEARTH_BENCH, tmp_path / "runs"))
    assert {each.method for each in found} == {"TTT-MMR"}


def test_html_is_whole_and_needs_nothing_else(matrix: Path) -> None:
    page = (matrix / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\(|<script", page)
    assert page.count("<svg") == 6
    assert not re.search(r"\b(nan|inf)\b", page)
    depth: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta",):
                depth.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert depth.pop() == tag

    Balance().feed(page)
    assert depth == []
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors == set(re.findall(r'<h2 id="([^"]+)"', page))


def test_the_same_results_give_the_same_bytes(matrix: Path, tmp_path: Path) -> None:
    table = read_results(matrix / "results.parquet")
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    for path in report(shuffled, MMEARTH_BENCH, matrix / "runs", tmp_path):
        assert path.read_bytes() == (matrix / path.name).read_bytes()


def test_what_lacks_is_said(tmp_path: Path) -> None:
    table = write_matrix(tmp_path, ("soil_pH",), ("convnext",), 1, n=20, traces=False, resamples=5)
    kept = [r for r in table.to_pylist() if r["method"] == "FT" and r["fraction"] == 100]
    report(pa.Table.from_pylist(kept, schema=RESULTS), MMEARTH_BENCH, tmp_path / "absent", tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert page.count("Left out: ") == 8
    for title in ("Scores", "Cost", "Canaries"):
        assert "Left out" not in section(page, title)
    assert "0.000 ±" not in page  # one seed has no error


def test_tasks_of_every_kind_are_reported(tmp_path: Path) -> None:
    table = write_matrix(
        tmp_path, tuple(OWN.tasks), ("my.module:Net",), 1, n=12, resamples=2, catalogue=OWN
    )
    report(table, OWN, tmp_path / "runs", tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "my.module:Net" in page
    scores = section(page, "Scores")
    assert "| balanced accuracy, random |" in scores and "| macro F1, geographic |" in scores
    assert "mIoU, random" in scores and "| RMSE, random |" in scores
    assert "| sand | my.module:Net | FT |" in section(page, "Outputs")
    assert "| clay | baseline | mean |" in section(page, "Outputs")
    for name in ("height", "yields", "texture sand", "texture silt", "texture clay"):
        assert f"| {name} | random | " in section(page, "Residuals by size of the target")
    for task, of_class in product(("landcover", "crop"), (1, 2, 7)):
        assert f"| {task} | random | class {of_class} | " in section(page, "Classes")
    assert "| birds | random | my.module:Net | FT |" in section(page, "Labels by frequency")


def test_a_class_is_told_by_what_it_is_taken_for(tmp_path: Path) -> None:
    table = write_matrix(
        tmp_path, ("crop",), ("net",), 1, n=20, resamples=5, traces=False, catalogue=OWN
    )
    folder = run_folder(tmp_path, setting("crop", "net", "FT", 100, 41))
    # Ten of 1: six found, three taken for 7, one for 2; two of 7, one found.
    truth = np.array([0] * 10 + [2] * 2)[:, None]
    said = np.array([0] * 6 + [2] * 3 + [1] + [2, 0])
    made = tile_predictions(
        OWN.tasks["crop"], [f"k{i:02d}" for i in range(12)], np.eye(3)[said], truth
    )
    write_predictions(made, predictions_path(folder, "random_test"))
    report(table, OWN, tmp_path / "runs", tmp_path)
    text = section((tmp_path / "report.md").read_text(), "Classes")
    assert row(text, "crop", "random", "class 1", "net", "FT") == [
        *("10", "0.600", number(6 / 7), number(6 / 11), "class 7 (30 %)")
    ]
    assert row(text, "crop", "random", "class 7", "net", "FT")[1:3] == ["0.500", "0.250"]
    assert row(text, "crop", "random", "class 2", "net", "FT") == ["0", "–", "0.000", "0.000", "–"]


def test_two_configurations_of_one_setting_are_refused(matrix: Path, tmp_path: Path) -> None:
    table = read_results(matrix / "results.parquet")
    again = [{**r, "config_hash": "f" * 16} for r in table.to_pylist()[:1]]
    both = pa.concat_tables([table, pa.Table.from_pylist(again, schema=RESULTS)])
    with pytest.raises(ConfigError, match=r"was run with two configurations, \w{16} and f{16}"):
        report(both, MMEARTH_BENCH, matrix / "runs", tmp_path)
    with pytest.raises(ConfigError, match="hold no row"):
        report(table.slice(0, 0), MMEARTH_BENCH, matrix / "runs", tmp_path)


def test_diverged_runs_do_not_break_the_report(matrix: Path, tmp_path: Path) -> None:
    table = read_results(matrix / "results.parquet")
    rows = [
        {**r, "value": math.nan, "low": math.nan, "high": math.nan} if r["method"] == "JT" else r
        for r in table.to_pylist()
    ]
    report(pa.Table.from_pylist(rows, schema=RESULTS), MMEARTH_BENCH, matrix / "runs", tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert not re.search(r"\b(nan|inf)\b", page) and "not finite" in section(page, "Canaries")


def test_predictions_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    table = write_matrix(tmp_path, ("species",), ("convnext",), 1, n=20, resamples=5)
    for method in ("JT", "FT"):
        folder = run_folder(tmp_path, setting("species", "convnext", method, 100, 41))
        path = predictions_path(folder, "random_test")
        made = read_predictions(path, MMEARTH_BENCH.tasks["species"])
        made.prediction[0] = np.inf
        write_predictions(made, path)
    report(table, MMEARTH_BENCH, tmp_path / "runs", tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "| species | random | convnext | FT |" not in section(page, "Labels by frequency")
    text = section(page, "Test-time training against joint training")
    assert row(text, "species", "convnext", "random", "TTT-MMR")[-2] == "–"
    assert row(text, "species", "convnext", "geographic", "TTT-MMR")[-2] != "–"


def test_a_unit_is_told_where_there_is_one() -> None:
    bands = OWN.tasks["texture"].target.bands

    def texture(*units: str) -> Task:
        of = tuple(replace(band, unit=unit) for band, unit in zip(bands, units, strict=True))
        return replace(OWN.tasks["texture"], target=replace(OWN.tasks["texture"].target, bands=of))

    assert axis_of(texture("%", "%", "%"), "rmse") == "RMSE / %"
    assert axis_of(texture("%", "%", "%"), "r2") == "R²"
    assert axis_of(texture("%", "%", "g/kg"), "rmse") == axis_of(texture(*"111"), "rmse") == "RMSE"


def test_equal_scores_share_a_rank() -> None:
    assert _ranks({"a": 0.5, "b": 0.7, "c": 0.5, "d": 0.1}) == {"b": 1, "a": 2.5, "c": 2.5, "d": 4}


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 1], [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ([-30, 95], [-50, 0, 50, 100]),
        ([math.nan], [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_axes_end_on_round_numbers(values: list[float], ticks: list[float]) -> None:
    scale = scale_of(values, 0, 100)
    assert scale.ticks == pytest.approx(ticks)
    assert (scale.at(scale.low), scale.at(scale.high)) == (0, 100)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.2e-7, 1e9])
def test_axis_of_one_value_has_room(value: float) -> None:
    scale = scale_of([value], 0, 100)
    assert scale.low < value < scale.high and 2 <= len(scale.ticks) <= 12
    assert len({scale.label(tick) for tick in scale.ticks}) == len(scale.ticks)


def test_numbers_read_well() -> None:
    assert (number(-0.1234), number(-0.0001), number(math.nan)) == ("−0.123", "0.000", "–")
    assert (signed(0.5), signed(-0.5), signed(0)) == ("+0.500", "−0.500", "0.000")
    assert (spread(1, 0.5, 1), spread(1, math.nan, 1)) == ("1.0 ± 0.5", "1.0")
    assert (interval_text(0, 1, 1), interval_text(math.nan, 1)) == ("0.0 to 1.0", "–")


def test_text_is_escaped() -> None:
    table = Table("<b> `code`", ("a|b",), (("<script>",),))
    document = Document("T & U", (), (Section("S", (table,)),))
    page = to_html(document)
    assert "<script>" not in page and "&lt;b&gt; <code>code</code>" in page and "T &amp; U" in page
    assert "| a\\|b |" in to_markdown(document)


def test_the_example_of_the_documentation_runs(
    matrix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "benchmark-report.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.S)
    shutil.copytree(matrix / "runs", tmp_path / "out" / "runs")
    shutil.copy(matrix / "catalogue.json", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "benchmark-report.md", "exec"), {})
    for name in ("results.parquet", "report.html", "report.md"):
        assert (tmp_path / "out" / name).read_bytes() == (matrix / name).read_bytes()
    for name in (*RESULTS.names, *BATCHES.names, *RECONSTRUCTION.names):
        assert f"`{name}`" in page, name
    assert len(re.findall(r"^\| [A-Z][^|]+ \| ", page, re.M)) == len(SECTIONS)
