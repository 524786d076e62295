"""`mmearth benchmark predict`: from the weights of runs to tables and maps of any place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmearth.benchmark.adapted import PREDICTING
from mmearth.catalog.errors import ConfigError
from mmearth.catalog.extras import needing
from mmearth.catalog.progress import shown
from mmearth.catalog.talk import say

if TYPE_CHECKING:
    from mmearth.benchmark.predict import Asked


@click.command("predict")
@click.argument("runs", type=click.Path(file_okay=False))
@click.argument("dataset", metavar="DIR|URL")
@click.option("-o", "--out", required=True, help="Folder of predictions.parquet and of maps.")
@click.option(
    "--method",
    type=click.Choice(PREDICTING),
    default="JT",
    show_default=True,
    help="Not adapted, or adapted to each batch.",
)
@click.option("--task", help="What is predicted, where RUNS have several.")
@click.option("--encoder", help="Whose weights, where RUNS have several.")
@click.option("--places", help="Task of the dataset whose samples are meant; else the same one.")
@click.option("--where", metavar="SQL", help="Only samples that this is true of.")
def command(runs: str, dataset: str, out: str, **options: Any) -> None:
    """Predict for a dataset with the runs of `benchmark run`.

    Labelled or not, of the same grid and layers. All seeds predict: a row has their mean and their
    spread. Targets with pixels become GeoTIFFs, with a mosaic a zone. What was interrupted goes on.

    mmearth benchmark predict runs/demo data/africa -o maps --method TTT-MMR --task soil_pH
    """
    with needing("benchmark"):
        from mmearth.benchmark.predict import drop_parts, predict_all
        from mmearth.benchmark.predicted import FILE, tile_columns, write_predictions

    asked, into = _asked(Path(runs), dataset, **options), Path(out)
    task = asked.catalogue.task(str(asked.settings[0]["task"]))
    with shown() as progress:
        told = 0

        def tell(done: int, total: int) -> None:
            nonlocal told
            if not told:
                progress("predict batches", total)
            for _ in range(done - told):
                progress("predict batches", None)
            told = done

        made = predict_all(asked, into, tell)
    if task.is_pixel:
        from mmearth.predicted_maps import map_columns

        columns = map_columns(asked, task, made, into)
    else:
        columns = tile_columns(task, made)
    n = write_predictions(asked, columns, into, _about(asked))
    drop_parts(into)
    say(f"{n} predictions of {task.name} in {into / FILE}")


def _asked(
    runs: Path,
    dataset: str,
    method: str,
    task: str | None,
    encoder: str | None,
    places: str | None,
    where: str | None,
) -> Asked:
    from mmearth.benchmark.predict import Asked, choose_runs
    from mmearth.benchmark.results import RESULTS_FILE, read_results
    from mmearth.catalog.catalogue import read_catalogue
    from mmearth.loaders.dataset import open_dataset

    if not (runs / RESULTS_FILE).exists():
        raise ConfigError(
            f"{runs} holds no runs; make some with `mmearth benchmark run CONFIG -o {runs}`"
        )
    settings = choose_runs(read_results(runs / RESULTS_FILE).to_pylist(), task, encoder, method)
    opened, name = open_dataset(dataset), str(settings[0]["task"])
    there = list(opened.catalogue.tasks)
    if places is None:
        places = name if name in there or len(there) > 1 else there[0]
    opened.catalogue.task(places)
    return Asked(runs, settings, read_catalogue(runs), opened, places, where)


def _about(asked: Asked) -> dict[str, Any]:
    """Return what the predictions say of how they were made."""
    import mmearth

    first = asked.settings[0]
    return {
        **{name: first[name] for name in ("task", "encoder", "method")},
        "seeds": asked.seeds,
        "steps": [row["steps"] for row in asked.settings],
        "runs": [row["config_hash"] for row in asked.settings],
        "trained_on": first["dataset_hash"],
        "dataset_hash": asked.dataset.hash,
        "places": asked.places,
        "where": asked.where,
        "version": mmearth.__version__,
    }
