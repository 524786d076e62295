"""Species come by the names of the file's own list, whatever its order and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmearth.catalog.errors import FormatError
from mmearth.catalog.published import MMEARTH_BENCH
from mmearth.packaging.h5.layout import LABELS_FILE, NAMES_FILE, TaskFiles
from mmearth.packaging.h5.species import Labels

TASK = MMEARTH_BENCH.tasks["species"]
SPECIES = TASK.outputs
OURS = {name: number for number, name in enumerate(SPECIES)}


def _labels(folder: Path, document: Any, names: Any = None) -> Labels:
    (folder / LABELS_FILE).write_text(json.dumps(document))
    if names is not None:
        (folder / NAMES_FILE).write_text(json.dumps(names))
    return Labels(TaskFiles(TASK, folder / "species.h5"))


def test_another_order_and_another_spelling(tmp_path: Path) -> None:
    backwards = {name: 99 - number for number, name in enumerate(SPECIES)}
    backwards["canis_LUPUS"] = backwards.pop("Canis lupus")
    labels = _labels(tmp_path, backwards)
    assert labels.of(0, '["Canis lupus", "Mus musculus"]') == ["Mus musculus", "Canis lupus"]
    assert labels.of(0, "[98, 99, 99]") == ["Mus musculus", "Canis lupus"]  # by their numbers
    assert labels.of(0, "[]") == []


def test_a_name_that_is_not_ours(tmp_path: Path) -> None:
    theirs = {("Some other" if n == 93 else name): n for name, n in OURS.items()}
    sentence = (
        r"lacks 1 of the 100 species that mmearth has, the first is 'unpublished 93'; it has 'Some "
        r"other', which mmearth does not know; if it is 'unpublished 93', write \{\"Some other\": "
        r"\"unpublished 93\"\} into species_names.json beside"
    )
    with pytest.raises(FormatError, match=sentence):
        _labels(tmp_path, theirs)
    labels = _labels(tmp_path, theirs, {"Some other": "unpublished 93"})
    assert labels.of(3, '["Some other", "Mus musculus"]') == ["Mus musculus", "unpublished 93"]
    assert labels.of(3, "[93]") == ["unpublished 93"]


def test_a_name_more_is_refused_where_a_row_has_it(tmp_path: Path) -> None:
    labels = _labels(tmp_path, {**OURS, "Panthera pardu": 100})
    assert labels.of(1, '["Panthera pardus"]') == ["Panthera pardus"]
    sentence = r"row 2 .* mmearth knows no 'Panthera pardu'; if it is 'Panthera pardus', write"
    with pytest.raises(FormatError, match=sentence):
        labels.of(2, '["Panthera pardu"]')


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "is no list of species"),
        ({**OURS, "Mus spretus": 0}, "'Mus musculus' and 'Mus spretus' have one number, 0"),
        ({**OURS, "Mus spretus": 65.5}, "'Mus spretus' has the number 65.5; expected a whole"),
        ({**OURS, "mus_musculus": 100}, "'Mus musculus' and 'mus_musculus' are one species here"),
        (dict(list(OURS.items())[:3]), "lacks 97 of the 100 .*; is it the list of another version"),
    ],
)
def test_what_is_no_list_of_species(tmp_path: Path, document: Any, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        _labels(tmp_path, document)


def test_a_name_that_stands_twice(tmp_path: Path) -> None:
    text = json.dumps(OURS)
    (tmp_path / LABELS_FILE).write_text(text[:-1] + ', "Mus musculus": 100}')
    with pytest.raises(FormatError, match="'Mus musculus' stands twice; expected each name once"):
        Labels(TaskFiles(TASK, tmp_path / "species.h5"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '["Yeti"]',
            "row 6 has the labels '\\[\"Yeti\"\\]', and species_labels.json has no 'Yeti'",
        ),
        ("[100]", "species_labels.json has no 100; are the two files of one version"),
        ("[true]", "expected a JSON list of names"),
        ('"Mus musculus"', "expected a JSON list of names"),
        ("Mus musculus", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_labels_that_nothing_explains(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(FormatError, match=sentence):
        _labels(tmp_path, OURS).of(6, text)


@pytest.mark.parametrize("names", [{"Yeti": "Mus musculus"}, {"Mus musculus": "Yeti"}])
def test_names_of_nothing(tmp_path: Path, names: dict[str, str]) -> None:
    with pytest.raises(
        FormatError, match=r"species_names.json says that .*Yeti.*; expected a name"
    ):
        _labels(tmp_path, OURS, names)
