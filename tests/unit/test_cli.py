"""Every command has help, stands in the documentation, and fails in one sentence."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from mmearth import cli
from mmearth.catalog import errors, options
from mmearth.catalog.extras import missing_sentence
from mmearth.tests.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_has_help_and_is_documented() -> None:
    documented = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    names = []
    for name, command in commands(cli.root):
        names.append(name)
        assert command.help, f"mmearth {name} has no help"
        short = command.get_short_help_str(62)  # what 80 columns leave
        assert not short.endswith("..."), f"mmearth {name}: {short}"
        assert f"mmearth {name}" in documented, f"docs/commands.md does not mention mmearth {name}"
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name != "help":
                assert parameter.help, f"mmearth {name} {parameter.opts[0]} has no help"
    assert "curate build" in names
    assert "loaders query" in names


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("curate", "build", "nowhere.yaml", "-o", "x"), 2, "no configuration nowhere.yaml"),
        (("curate", "status", "nowhere"), 2, "holds no build"),
        (("curate", "view", "nowhere"), 2, "holds no build"),
        (("packaging", "verify", "nowhere"), 2, "nowhere"),
        (
            ("catalog", "audit", "nowhere"),
            2,
            "has no manifests to audit; build a dataset there first",
        ),
        (
            ("catalog", "validate", "nowhere"),
            2,
            "has no catalog.json; make it with `mmearth catalog stac",
        ),
        (("loaders", "query", "nowhere", "SELECT 1"), 2, "nowhere"),
        (("curate", "build"), 2, "Missing argument"),
        (("nonsense",), 2, "nonsense"),
        (("build", "x.yaml"), 2, "did you mean `mmearth curate build` or `mmearth packaging b"),
        (("query", "x"), 2, "there is no command 'query'; did you mean `mmearth loaders query`?"),
        (("benchmark", "report", "nowhere"), 2, "run CONFIG -o nowhere`"),
        (("doctor", "gpu"), 2, "gpu"),
    ],
)
def test_wrong_use_is_one_sentence(
    run_cli: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = run_cli(*arguments)
    assert found == code
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_errors_are_json_when_json_is_asked_for(run_cli: Run) -> None:
    code, _, err = run_cli("curate", "status", "nowhere", "--json")
    assert json.loads(err)["error"]["code"] == code == 2


@pytest.mark.parametrize("arguments", [(), ("curate",), ("-h",)])
def test_a_group_alone_tells_its_commands(run_cli: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run_cli(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: ") and "Commands:" in out


def test_where_an_error_comes_from_is_told_at_the_second_v(
    run_cli: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "mmearth"):
        assert "Traceback" not in run_cli("-v", "curate", "status", "nowhere")[2] + caplog.text
    with caplog.at_level("DEBUG", "mmearth"):
        run_cli("-vv", "curate", "status", "nowhere")
    assert "Traceback" in caplog.text


def test_what_the_system_refuses_is_one_sentence(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(SMALL)
    code, _, err = run_cli("curate", "build", tmp_path / "c.yaml", "-o", "/proc/x")
    assert code == 3
    assert "/proc/x" in err and "Traceback" not in err and len(err.splitlines()) == 1


def test_names_from_files_do_not_reach_the_terminal_ascommands(run_cli: Run) -> None:
    code, _, err = run_cli("curate", "status", "a\n\x1b[2Jb")
    assert code == 2 and "a\\n\\x1b[2Jb holds no build" in err


@pytest.mark.parametrize("arguments", [("catalog", "modalities", "--json"), ("-h",), ()])
def test_a_reader_that_leaves_is_no_error(arguments: tuple[str, ...]) -> None:
    code = "import sys; from mmearth.cli import main; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        (">/dev/full", 3, b"mmearth: the output: no space left on device"),
        (">&-", 0, b""),
        ("--json 2>&- >/dev/null", 0, b""),
    ],
)
def test_an_output_that_cannot_be_written(redirect: str, code: int, said: bytes) -> None:
    line = f'"{sys.executable}" -m mmearth catalog tasks {redirect}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert done.returncode == code, done
    assert done.stderr.startswith(said) and done.stderr.count(b"\n") == (1 if said else 0)


def test_a_library_of_another_version_is_one_sentence() -> None:
    absent = ModuleNotFoundError("No module named 'torch.x'", name="torch.x")
    assert missing_sentence(absent, "benchmark") == (
        "torch is not installed: to train and adapt models, pip install 'mmearth[benchmark]'"
    )
    other = ImportError("cannot import name 'x' from 'timm'", name="timm")
    assert missing_sentence(other) == (
        "timm does not fit (cannot import name 'x' from 'timm'): to train and adapt models, "
        "pip install -U 'mmearth[benchmark]'"
    )
    assert missing_sentence(ImportError("a bug of ours", name="mmearth.cli")) is None


@pytest.mark.parametrize("width", [60, 40, 20])
def test_a_table_is_cut_to_fit_a_terminal(
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = [[1, "x" * 50, 0.5], [123456, "\x1b[2J", None]]
    options.echo_table(["number", "text", "more"], rows, "--json shows all")
    told = capsys.readouterr()
    assert all(len(line) <= width for line in told.out.splitlines())
    assert "123456" in told.out and "\x1b" not in told.out
    assert ("…" in told.out, "more" in told.out) == (width > 30, width > 40)
    assert "cut to fit the terminal" in told.err and told.err.endswith("--json shows all\n")
    assert ("columns left out" in told.err) == (width <= 40)
    options.echo_table(["number", "text", "more"], rows)
    assert "x" * 50 in capsys.readouterr().out


def test_an_answer_in_a_pipe_is_whole(small_dataset: Path, run_cli: Run) -> None:
    code, out, err = run_cli("loaders", "query", small_dataset, "SELECT repeat('long ', 99) AS a")
    assert (code, err) == (0, "")
    assert out.splitlines()[2] == ("long " * 99).rstrip()


def test_a_table_in_a_pipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    options.echo_table(["a"] * 90, [["b" * 60] * 90], "--json shows all")
    told = capsys.readouterr()
    assert (told.out.count("b"), told.err) == (60 * 90, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(run_cli: Run, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_MMEARTH_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "mmearth curate b")
    monkeypatch.setenv("COMP_CWORD", "2" if shell != "fish" else "b")
    code, out, err = run_cli()
    assert (code, err) == (0, "")
    assert "build" in out
    assert f"_MMEARTH_COMPLETE={shell}_source mmearth" in (ROOT / "docs/commands.md").read_text()


def _tree(cls: type[errors.MMEarthError]) -> Iterator[type[errors.MMEarthError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)


@pytest.mark.parametrize("cls", list(_tree(errors.MMEarthError)))
def test_errors_survive_pickling_and_stand_in_the_drawing(cls: type[errors.MMEarthError]) -> None:
    error = cls("found this, expected that; do so")
    error.add_note("tile 32633_500000_4649760")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert cls.__name__ in (errors.__doc__ or "")
    assert cls.exit_code in {1, 2, 3, 4, 5, 6}


def test_a_log_file_that_cannot_be(tmp_path: Path, run_cli: Run) -> None:
    (tmp_path / "file").write_text("")
    for name in (tmp_path / "file/x", tmp_path / "no/x", "/proc/self/mem"):
        code, _, err = run_cli("--log-file", name, "catalog", "tasks")
        assert code in {2, 3} and "log-file" in err and "internal error" not in err, err


def test_a_working_directory_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Run
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert run_cli("catalog", "tasks")[0::2] == (
        3,
        "mmearth: the working directory was deleted; go to another with `cd`\n",
    )
