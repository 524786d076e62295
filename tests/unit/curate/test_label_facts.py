"""What a plan says of labels: counts that can be made by hand, and what is suspicious."""

from __future__ import annotations

import pytest

from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.curate.declared import TargetConfig, own_task
from mmearth.curate.labels.facts import label_facts
from mmearth.curate.labels.species import SPECIES
from mmearth.curate.source import Label
from mmearth.tests.own_config import task_of


def _soil(*values: float, lon: float = 10.25) -> list[Label]:
    return [Label(lon + i, 50.5 - i, value) for i, value in enumerate(values)]


def test_where_when_and_which_values() -> None:
    labels = [
        Label(10.25, 50.5, 4.0, date="2020-06-01"),
        Label(-3.5, 51.25, 7.0, date="2019-03-01/2019-03-31,2021-05-01/2021-05-31"),
        Label(11.75, 49.5, 6.0),
    ]
    facts = label_facts(MMEARTH_BENCH.tasks["soil_pH"], labels, with_images=True)
    assert facts.box == (-3.5, 49.5, 11.75, 51.25)
    assert (facts.n_dated, facts.first, facts.last) == (2, "2019-03-01", "2021-05-31")
    assert (facts.n_valued, facts.low, facts.middle, facts.high) == (3, 4.0, 6.0, 7.0)
    assert facts.warnings == ()


def test_places_without_labels_have_no_values() -> None:
    facts = label_facts(own_task("custom", TargetConfig()), [Label(1.5, 2.5)], with_images=False)
    assert (facts.n_valued, facts.low, facts.n_dated, facts.first) == (0, None, 0, None)


def test_species_that_are_nowhere() -> None:
    labels = [Label(1.5, 2.5, labels=SPECIES[:2]), Label(2.5, 2.5, labels=())]
    facts = label_facts(MMEARTH_BENCH.tasks["species"], labels, with_images=False)
    assert (facts.n_without_species, facts.absent) == (1, SPECIES[2:])
    assert facts.warnings == ()  # half of them is not more than half
    alone = label_facts(
        MMEARTH_BENCH.tasks["species"], [*labels, Label(3.5, 2.5, labels=())], with_images=False
    )
    assert [text.partition(";")[0] for text in alone.warnings] == [
        "species: 2 of 3 places have none of the task's species"
    ]


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        ("soil_pH", (6.5, 6.6, 6.7, 6.8, 65.0), "value: 1 of 5 values lie outside 0 to 14"),
        ("soil_pH", (6.5,) * 5, "value: all 5 values are 6.5"),
        ("soil_organic_carbon", (0.9, 1.1, 1.2, 1.3, 8.0), "below 1.2 g/kg, as in a table in per"),
        ("soil_nitrogen", (0.05, 0.1, 0.1, 0.2, 0.3), "below 0.1 g/kg, as in a table in per cent"),
    ],
)
def test_suspicious_values(task: str, values: tuple[float, ...], said: str) -> None:
    (found,) = label_facts(MMEARTH_BENCH.tasks[task], _soil(*values), with_images=False).warnings
    assert said in found


def test_suspicious_places_and_dates() -> None:
    whole = label_facts(
        MMEARTH_BENCH.tasks["soil_pH"], _soil(5, 6, 7, 8, 9, lon=10.0), with_images=False
    )
    assert whole.warnings == ()  # latitudes have a decimal
    places = [Label(float(i), float(i), 5.0 + i) for i in range(5)]
    (found,) = label_facts(MMEARTH_BENCH.tasks["soil_pH"], places, with_images=False).warnings
    assert found.startswith("lon:, lat: all places lie on whole degrees")
    old = [Label(1.5, 2.5, 6.0, date="1995-06-01"), Label(1.5, 3.5, 7.0, date="2020-06-01")]
    (found,) = label_facts(MMEARTH_BENCH.tasks["soil_pH"], old, with_images=True).warnings
    assert found == "date: 1 of 2 dates lie before Sentinel-2 was there, 2015-06-23"
    assert label_facts(MMEARTH_BENCH.tasks["soil_pH"], old, with_images=False).warnings == ()


def test_suspicious_numbers_of_several_outputs() -> None:
    task = task_of(outputs=["sand", "clay"], unit="%", valid=[0, 100])
    labels = [Label(8.25 + i, 50.5, values=(10.0 * i, 0.1 * i)) for i in range(5)]
    (found,) = label_facts(task, [*labels, Label(1.5, 2.5)], with_images=False).warnings
    assert found == "values, clay: all are 0 to 0.4 %, as fractions are; check it"


def test_classes_that_are_nowhere() -> None:
    task = task_of(classes=["wheat", "maize", "rice"])
    labels = [Label(8.25 + i, 50.5, labels=(("maize", "rice")[i % 2],)) for i in range(5)]
    (found,) = label_facts(task, labels, with_images=False).warnings
    assert found == "value: 1 of 3 classes are nowhere: wheat"
    assert label_facts(task, labels[:4], with_images=False).warnings == ()
