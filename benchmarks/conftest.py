"""Add the flag `--benchmark`, what the suites share, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.machine import describe_commit, describe_machine
from benchmarks.models import MODELS, Candidate, candidate
from benchmarks.report import Record, compared_lines, records_of, report_lines
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.choose import ENGINES, choose
from deepmask.runtime.engines.threads import cores_available

RESULTS = Path(__file__).parent / "results"
WHY_SKIPPED = "benchmarks skipped, they take minutes: pytest benchmarks/ --benchmark runs them"

_records = pytest.StashKey[list[Record]]()
_earlier = pytest.StashKey[dict[str, list[Record]]]()
_PLUGINS_STORAGE = "file://./.benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add this suite's options to those of pytest-benchmark."""
    group = parser.getgroup("deepmask benchmarks")
    group.addoption("--benchmark", action="store_true", help="Run the benchmarks.")
    group.addoption(
        "--benchmark-model",
        action="append",
        metavar="DIR",
        help="Measure this model folder instead of the presets; may be given several times.",
    )
    group.addoption(
        "--benchmark-threads", type=int, default=0, help="CPU threads, 0 for one per core."
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep results in `RESULTS`; compare each benchmark with its own earlier figure."""
    config.stash[_records] = []
    config.stash[_earlier] = {}
    option = config.option
    if option.benchmark_storage == _PLUGINS_STORAGE:
        option.benchmark_storage = f"file://{RESULTS}"
    if option.benchmark_columns is None:
        option.benchmark_columns = ["min", "median", "max", "iqr", "rounds"]
    if option.benchmark_compare:
        option.benchmark_group_by = "fullname"
    if option.benchmark and not (option.benchmark_save or option.benchmark_json):
        option.benchmark_autosave = "latest"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip everything without the flag."""
    if not config.option.benchmark:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=WHY_SKIPPED))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `model_name` for each of `MODELS`, or for each folder given."""
    if "model_name" in metafunc.fixturenames:
        names = metafunc.config.option.benchmark_model or MODELS
        metafunc.parametrize("model_name", names, ids=[Path(name).name for name in names])


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """Describe the machine without its host name."""
    return describe_machine()


def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Keep an earlier run for the table of ratios, under its machine's name."""
    where = compared_benchmark["machine_info"]["machine"]
    known = "this machine" if where == machine_info["machine"] else where
    key = f"{compared_benchmark['datetime'][:16]} on {known}"
    config.stash[_earlier][key] = records_of(compared_benchmark)


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """Keep the commit, without branch and project."""
    commit_info.clear()
    commit_info.update(describe_commit())


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Keep a model folder's name, without the path to it."""
    for benchmark in output_json["benchmarks"]:
        params = benchmark["params"] or {}
        if "model_name" in params:
            params["model_name"] = Path(params["model_name"]).name


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the latencies and the other suites' figures, or why there are none."""
    records: list[Record] = config.stash[_records]
    terminalreporter.ensure_newline()
    if not config.option.benchmark:
        terminalreporter.write_line(WHY_SKIPPED)
    elif records:
        terminalreporter.write_line("\n".join(report_lines(records)))
        for when, earlier in config.stash[_earlier].items():
            terminalreporter.write_line("\n".join(["", *compared_lines(when, earlier, records)]))


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> int:
    """Return how many CPU threads to measure with."""
    return int(request.config.option.benchmark_threads) or cores_available()


@pytest.fixture(params=[engine for engine in ENGINES if engine != "auto"])
def cpu_engine(request: pytest.FixtureRequest) -> str:
    """Return each engine that can run on this machine's CPU."""
    try:
        choose(request.param, "cpu")
    except EngineError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest) -> Path:
    """Return where exports of random weights stay between runs: pytest's own cache."""
    return Path(request.config.cache.mkdir("benchmark-models"))


@pytest.fixture
def model(model_name: str, cache: Path) -> Candidate:
    """Return the model folder of `model_name`."""
    return candidate(model_name, cache)


@pytest.fixture
def recorded(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> Iterator[BenchmarkFixture]:
    """Return pytest-benchmark's fixture, whose figures also go to the table at the end."""
    yield benchmark
    if benchmark.stats is not None and not benchmark.has_error:
        record = Record(
            name=benchmark.name,
            group=str(benchmark.group),
            median=benchmark.stats.stats.median,
            info=dict(benchmark.extra_info),
        )
        request.config.stash[_records].append(record)
