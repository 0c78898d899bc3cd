"""The command line that every job has, and its exit codes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from forensics.config import Settings, fields
from forensics.records import UserError
from forensics.storage import AccessDenied, StorageError
from jobs.entry import INCOMPLETE, OK, REFUSED, begun, run_job, settings_from
from tests.conftest import ROOT

Captured = pytest.CaptureFixture[str]
SECRET = "wJalrXUtnFEMI/K7MDENG"


class Inner(Settings):
    window: int = Field(128, description="side of the window in pixels")


class Job(Settings):
    manifest: str = Field(description="URI of the manifest")
    threads: int = Field(4, description="threads at work")
    inner: Inner = Inner()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a job with these words on its command line; returns its exit code."""

    def run(job: Callable[[Job], int], *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["jobs.example", *words])
        with pytest.raises(SystemExit) as left:
            run_job(job, Job, "An example.\n\n    python -m jobs.example --manifest m\n")
        assert isinstance(left.value.code, int)
        return left.value.code

    return run


def never(job: Settings) -> int:
    raise AssertionError("the job was run")


def raises(error: BaseException) -> Callable[[Job], int]:
    def job(settings: Job) -> int:
        raise error

    return job


@pytest.mark.parametrize("code", [OK, INCOMPLETE, REFUSED])
def test_a_jobs_code_is_the_exit_code(command: Callable[..., int], code: int) -> None:
    seen: list[Job] = []

    def job(settings: Job) -> int:
        seen.append(settings)
        return code

    assert command(job, "--manifest", "m", "--inner.window=64") == code
    assert seen == [Job(manifest="m", inner=Inner(window=64))]


def test_help_into_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "from jobs.entry import run_job\n"
        "from forensics.config import Settings\n"
        "run_job(print, Settings, 'x' * 1_000_000)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        assert job.stdout.read(1) == b"x"
        job.stdout.close()
        assert job.stderr.read() == b""
    assert job.returncode == OK


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--threads", "x", "--help"]])
def test_help_lists_every_setting(
    command: Callable[..., int], capsys: Captured, words: list[str]
) -> None:
    assert command(never, *words) == OK
    out = capsys.readouterr().out
    assert out.startswith("An example.\n\n    python -m jobs.example --manifest m\n")
    lines = [line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  --")]
    assert lines == [
        ["--manifest", "URI of the manifest [required]"],
        ["--threads", "threads at work [4]"],
        ["--inner.window", "side of the window in pixels [128]"],
    ]


@pytest.mark.parametrize(
    "name",
    sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if "__main__" in path.read_text()),
)
def test_every_jobs_help_shows_a_command_and_all_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, name: str
) -> None:
    module = importlib.import_module(f"jobs.{name}")
    models = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Settings)
        and value.__name__.endswith("Job")
    ]
    model = max(models, key=lambda model: model.__module__ == module.__name__)  # others are bases
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as left:
        run_job(never, model, module.__doc__)
    assert left.value.code == OK
    out = capsys.readouterr().out
    assert f"python -m jobs.{name}" in out
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  --")]
    assert sorted(listed) == sorted(f"--{setting}" for setting, _ in fields(model))


@pytest.mark.parametrize(
    "error", [UserError("no manifest m; run jobs.ingest"), AccessDenied("s3://b/k: denied")]
)
def test_bad_input_is_one_line_without_traceback(
    command: Callable[..., int], capsys: Captured, error: Exception
) -> None:
    assert command(raises(error), "--manifest", "m") == REFUSED
    captured = capsys.readouterr()
    assert captured.err == f"error: {error}\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    "error", [UserError("the worker does not start"), StorageError("cannot write /k: disk full")]
)
def test_work_that_had_begun_is_incomplete_and_can_go_on(
    command: Callable[..., int], capsys: Captured, error: Exception
) -> None:
    def job(settings: Job) -> int:
        with begun():
            raise error

    assert command(job, "--manifest", "m") == INCOMPLETE
    err = capsys.readouterr().err
    assert err == f"error: {error}\nwhat is committed stays, the same command continues\n"


def test_secrets_are_taken_out_of_messages(
    command: Callable[..., int], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    error = UserError(f"no answer from https://me:{SECRET}@store/ with {SECRET}")
    assert command(raises(error), "--manifest", "m") == REFUSED
    assert capsys.readouterr().err == "error: no answer from https://***@store/ with ***\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs.example", "--manifest", "m"])
    with pytest.raises(ZeroDivisionError):
        run_job(raises(ZeroDivisionError("a bug")), Job, None)


def test_an_interrupt_says_that_the_work_can_go_on(
    command: Callable[..., int], capsys: Captured
) -> None:
    assert command(raises(KeyboardInterrupt()), "--manifest", "m") == 130
    err = capsys.readouterr().err
    assert err == "stopped; what is committed stays, the same command continues\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--manifset", "m"], "unknown option --manifset; did you mean manifest?"),
        (["--manifest", "m", "--inner.windw", "3"], "did you mean inner.window?"),
        (["--manifest"], "option --manifest needs a value"),
        (["manifest"], "options are written --name value"),
        ([], "manifest: Field required"),
        (["--manifest", "m", "--threads", "many"], "threads: Input should be a valid integer"),
        (["--config", "absent.yaml"], "no settings file absent.yaml"),
    ],
)
def test_a_bad_command_line_says_what_to_write(
    command: Callable[..., int], capsys: Captured, words: list[str], message: str
) -> None:
    assert command(never, *words) == REFUSED
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


def test_a_file_may_stand_anywhere_and_options_win(tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text("manifest: from-file\nthreads: 2\ninner: {window: 64}\n")
    file, option = ["--config", str(config)], ["--threads", "8"]
    expected = Job(manifest="from-file", threads=8, inner=Inner(window=64))
    joined: list[Any] = [f"--config={config}"]
    for words in (file + option, option + file, joined + option, option + joined):
        assert settings_from(Job, words) == expected


@pytest.mark.parametrize("word", ["--config", "--config="])
def test_config_without_a_file_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="option --config needs the path of a YAML file"):
        settings_from(Job, ["--manifest", "m", word])
