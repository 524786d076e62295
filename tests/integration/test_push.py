"""A dataset pushed to a bucket and to a hub: it is opened from there by us and by other tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

import mmearth
from mmearth.catalog.errors import ConfigError, FormatError, IntegrityError, UnavailableError
from mmearth.catalog.hub_url import resolved
from mmearth.packaging.push import push
from mmearth.packaging.verify import verify
from mmearth.tests.hub_server import Hub, serving_hub
from mmearth.tests.make_tiny import OWN, make_sealed

constants = pytest.importorskip("huggingface_hub.constants")
obstore = pytest.importorskip("obstore")
# huggingface_hub hands files to its HTTP library in a way that this deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
PLACE = "hf://datasets/me/small"
COUNT = "SELECT count(*) AS n FROM samples"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub("me/small") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("MMEARTH_REDIRECT_HOSTS", "localhost")
        # The double has the hub's older store of large files, not its newer one.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield running


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    facts = {"ENDPOINT_URL": url, "ALLOW_HTTP": "true", "ACCESS_KEY_ID": "a", "REGION": "us-east-1"}
    for name, value in {**facts, "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    urlopen(Request(f"{url}/moto-api/reset", method="POST")).close()  # of another test's objects
    urlopen(Request(f"{url}/mine", method="PUT")).close()
    yield "s3://mine/sets/small"
    server.stop()


def _copy(files: dict[str, bytes], to: Path) -> Path:
    for name, data in files.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(data)
    return to


def test_a_push_to_the_hub_is_opened_and_verifies(
    small_dataset: Path, tmp_path: Path, hub: Hub, run_cli: Run
) -> None:
    code, out, err = run_cli("packaging", "push", small_dataset, PLACE, "--json")
    assert code == 0, err
    local = mmearth.open(small_dataset)
    facts = json.loads(out)
    assert (facts["dataset_hash"], facts["n_sent"]) == (local.hash, facts["n_files"])
    assert hub.commits[-1] == ["dataset.json"]
    assert verify(_copy(hub.files, tmp_path / "down")) == []

    hub.asked.clear()
    remote = mmearth.open(PLACE, cache=tmp_path / "cache")
    assert remote.hash == local.hash
    assert remote.sql(COUNT) == local.sql(COUNT)
    batches = zip(*(d.select("soil_pH").loader(batch_size=4) for d in (remote, local)), strict=True)
    assert all(a["key"] == b["key"] for a, b in batches)
    told = {path.startswith("/lfs/"): secret for _, path, secret in hub.asked}
    assert told == {False: "Bearer hf_secret", True: None}  # not to where it sends us on to


def test_a_second_push_sends_what_is_missing(small_dataset: Path, hub: Hub) -> None:
    hub.refuse_after = 5
    with pytest.raises(UnavailableError, match="push again: what is there already stays"):
        push(small_dataset, PLACE)
    assert "dataset.json" not in hub.files
    hub.refuse_after = None
    push(small_dataset, PLACE)
    puts = [path for method, path, _ in hub.asked if method == "PUT"]
    assert len(set(puts[:5])) == 5
    assert not set(puts[:5]) & set(puts[6:])  # the sixth was refused
    n_commits = len(hub.commits)
    assert push(small_dataset, PLACE).n_sent == 0
    assert len(hub.commits) == n_commits
    hub.files["dataset.json"] = b"of another version"
    del hub.files["tiles.parquet"]
    assert push(small_dataset, PLACE).n_sent == 2
    assert hub.commits[n_commits:] == [["dataset.json"], ["tiles.parquet"], ["dataset.json"]]


@pytest.mark.parametrize("kind", ["hub", "bucket"])
def test_what_was_changed_is_not_sealed_there(
    small_dataset: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    there = request.getfixturevalue(kind)
    damaged = shutil.copytree(small_dataset, tmp_path / "damaged")
    shard = next(damaged.glob("shards/soil_pH/*.tar"))
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    place = PLACE if kind == "hub" else there
    with pytest.raises(IntegrityError, match=f"{shard.name} has not the bytes of SHA256SUMS"):
        push(damaged, place)
    with pytest.raises(FormatError, match="is not there"):
        mmearth.open(place, cache=tmp_path / "cache")
    assert push(small_dataset, place).n_sent == 2  # the shard and dataset.json


def _there(place: str, hub: Hub | None) -> dict[str, bytes]:
    """Return the files at a place."""
    if hub is not None:
        return dict(hub.files)
    store = obstore.store.from_url(place, client_options={"allow_http": True})
    names = [entry["path"] for batch in obstore.list(store) for entry in batch]
    return {name: bytes(obstore.get(store, name).bytes()) for name in names}


@pytest.mark.parametrize("kind", ["hub", "bucket"])
def test_nothing_is_left_of_the_dataset_before(
    small_dataset: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    there = request.getfixturevalue(kind)
    place, hub = (PLACE, there) if kind == "hub" else (there, None)
    before = make_sealed(tmp_path / "before", 6, OWN)
    push(before, place)
    if hub is None:
        store = obstore.store.from_url(place, client_options={"allow_http": True})
        obstore.put(store, "notes.txt", b"of somebody else")
    else:
        hub.files["notes.txt"] = b"of somebody else"
    pushed = push(small_dataset, place)
    assert pushed.n_deleted > len(OWN.tasks)
    found = _there(place, hub)
    assert found.pop("notes.txt") == b"of somebody else"
    assert verify(_copy(found, tmp_path / "down")) == []
    assert push(small_dataset, place).n_deleted == 0


def test_nothing_is_left_of_an_interrupted_push(
    small_dataset: Path, tmp_path: Path, hub: Hub
) -> None:
    push(small_dataset, PLACE)
    hub.refuse_after = 1
    with pytest.raises(UnavailableError, match="push again"):
        push(make_sealed(tmp_path / "other", 6, OWN), PLACE)
    hub.refuse_after = None
    push(small_dataset, PLACE)
    assert verify(_copy(_there(PLACE, hub), tmp_path / "down")) == []


def test_a_push_to_a_bucket_is_opened_and_verifies(
    small_dataset: Path, tmp_path: Path, bucket: str
) -> None:
    pushed = push(small_dataset, bucket)
    assert pushed.n_sent == pushed.n_files
    assert push(small_dataset, bucket).n_sent == 0
    assert verify(_copy(_there(bucket, None), tmp_path / "down")) == []
    remote = mmearth.open(bucket, cache=tmp_path / "cache")
    assert remote.sql(COUNT) == mmearth.open(small_dataset).sql(COUNT)
    n = str(len(remote.select("soil_pH")))
    assert _said(_OF_BUCKET, bucket, tmp_path) == [n, n, n]


_OF_BUCKET = """
import sys
import duckdb
from datasets import load_dataset
from obstore.fsspec import FsspecStore, register
bucket, options = sys.argv[1], {"client_options": {"allow_http": True}}
duckdb.register_filesystem(FsspecStore("s3", **options))
print(duckdb.sql(f"SELECT count(*) FROM '{bucket}/manifests/soil_pH.parquet'").fetchall()[0][0])
register("s3")
for table in ("manifests/soil_pH", "huggingface/soil_pH/*"):
    files = {"every": f"{bucket}/{table}.parquet"}
    print(len(load_dataset("parquet", data_files=files, split="every", storage_options=options)))
"""


_OTHERS = """
import duckdb
from datasets import load_dataset
from obstore.fsspec import FsspecStore
import os
loaded = load_dataset("me/small", "soil_pH")
print(sum(map(len, loaded.values())))
duckdb.register_filesystem(FsspecStore("http", client_options={"allow_http": True}))
path = os.environ["HF_ENDPOINT"] + "/datasets/me/small/resolve/main/manifests/soil_pH.parquet"
print(duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall()[0][0])
"""


def test_other_tools_read_the_pushed_dataset(small_dataset: Path, tmp_path: Path, hub: Hub) -> None:
    pytest.importorskip("datasets")
    push(small_dataset, PLACE)
    n = str(len(mmearth.open(small_dataset).select("soil_pH")))
    assert _said(_OTHERS, PLACE, tmp_path) == [n, n]


def _said(script: str, place: str, home: Path) -> list[str]:
    """Return the words that a program of other tools says of a place."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", script, place]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_places_that_are_none_are_named(small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no place to push to; expected hf://"):
        push(small_dataset, str(tmp_path))
    with pytest.raises(ConfigError, match="names no repository"):
        push(small_dataset, "hf://datasets/me")
    with pytest.raises(ConfigError, match="holds no complete dataset"):
        push(tmp_path, "s3://mine/x")


def test_the_url_of_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    root = "https://huggingface.co/datasets/me/small/resolve"
    assert resolved("hf://datasets/me/small") == f"{root}/main"
    assert resolved("hf://datasets/me/small@v1.0/") == f"{root}/v1.0"
    assert resolved("hf://me/small@refs/pr/1") == f"{root}/refs%2Fpr%2F1"
