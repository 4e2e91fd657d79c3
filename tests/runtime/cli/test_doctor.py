"""`deepmask-doctor`: what it finds, what it says of the rest, and that it never breaks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepmask.runtime.cli import doctor
from deepmask.runtime.doctor import install_hints, system_info
from deepmask.runtime.doctor.system_info import Library
from deepmask.runtime.io.checksum import sha256_of

COMMAND = shutil.which("deepmask-doctor", path=str(Path(sys.executable).parent))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert COMMAND is not None
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)


def lines_of(text: str) -> dict[str, str]:
    """The table's lines by their first word."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in text.splitlines() if line}


def test_a_healthy_machine(model_folder: Path) -> None:
    done = run("--engine", "onnxruntime", "--device", "cpu", "--model", model_folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = lines_of(done.stdout)
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert "for " in found["onnxruntime"]
    assert "CPU" in found["onnxruntime"]
    assert found["model"].endswith(f"{model_folder}, SHA-256 of all files verified")
    assert found["engine"].startswith("onnxruntime ")
    assert found["engine"].endswith(": runs")
    assert len(done.stdout.splitlines()) <= 24  # one screen


def test_a_changed_model_is_told(model_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "model")
    graph = next(copy.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes() + b"\0")
    done = run("--model", copy)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: auto cannot run: ")
    assert "its SHA-256 is not the one in model.json" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_graph_that_the_engine_refuses_is_told(model_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "model")
    (copy / "trunk.onnx").write_bytes(b"\x08\x08")  # a model without a graph
    content = json.loads((copy / "model.json").read_text(encoding="utf-8"))
    content["stages"][0]["sha256"] = sha256_of(copy / "trunk.onnx")
    (copy / "model.json").write_text(json.dumps(content), encoding="utf-8")
    done = run("--model", copy, "--engine", "onnxruntime", "--device", "cpu")
    assert done.returncode == 1
    assert "trunk.onnx: onnxruntime cannot load it" in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_use_is_one_line_and_exit_code_2() -> None:
    done = run("--engine", "abacus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'abacus' is not one of 'auto', 'tensorrt', 'tensorrt-rtx', 'openvino', " in done.stderr
    assert done.stderr.count("\n") == 1


def machine(
    monkeypatch: pytest.MonkeyPatch,
    missing: set[str],
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
    gpus: tuple[list[str], str] = ([], "nvidia-smi is not there, so no NVIDIA driver"),
    hardware: bool = False,
) -> None:
    """A machine on which everything is installed but `missing`, whose engine runs."""

    def library(module: str, requirement: str, for_gpu: bool = False) -> Library:
        name = module.partition(".")[0]
        if name in missing:
            return Library(name, "", "not installed", requirement, for_gpu)
        return Library(name, "1.0", "", requirement, for_gpu)

    def shared_library(name: str, *where: object) -> Library:
        there = name not in missing
        return Library(name, "9.1.0" if there else "", "" if there else "not found", "", True)

    monkeypatch.setattr(system_info, "library", library)
    monkeypatch.setattr(system_info, "shared_library", shared_library)
    monkeypatch.setattr(system_info, "has_nvidia_hardware", lambda: hardware)
    monkeypatch.setattr(system_info, "providers", lambda: providers)
    monkeypatch.setattr(system_info, "gpus", lambda: gpus)
    monkeypatch.setattr(
        system_info, "ask", lambda *command: ("onnxruntime 1.0 on CPU\nfirst found", "")
    )


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> tuple[int, list[str]]:
    monkeypatch.setattr(sys, "argv", ["deepmask-doctor", "--model", str(folder)])
    with pytest.raises(SystemExit) as ended:
        doctor.main()
    return int(ended.value.code or 0), capsys.readouterr().out.splitlines()


def test_what_is_missing_comes_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Path
) -> None:
    machine(monkeypatch, {"tensorrt", "pycuda", "tensorrt_rtx", "libnvinfer", "cudnn"})
    code, lines = said(monkeypatch, capsys, model_folder)
    assert code == 0
    assert "tensorrt     not installed" in lines
    assert "engine       onnxruntime 1.0 on CPU: runs (auto: first found)" in lines
    pip = f"{sys.executable} -m pip"
    note = "   (of use with an NVIDIA GPU)"
    install_hints = [line for line in lines if line.startswith("to get ")]
    assert install_hints[0].startswith(
        f"to get CUDA: {pip} uninstall -y onnxruntime && {pip} install "
    )
    assert "onnxruntime-gpu[cuda,cudnn]" in install_hints[0]
    assert install_hints[2].startswith(f"to get tensorrt_rtx: {pip} install ")
    assert "tensorrt-rtx" in install_hints[2]
    assert all(line.endswith(note) for line in install_hints)
    assert "libnvinfer   not found" in lines
    assert [line.split(":")[0].split()[-1] for line in install_hints] == [
        *("CUDA", "tensorrt", "tensorrt_rtx", "pycuda")
    ]


def test_nothing_is_missing_where_all_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Path
) -> None:
    card = "NVIDIA L4, driver 570.1, 20000 MiB of 23034 MiB free"
    machine(monkeypatch, set(), ("CUDAExecutionProvider", "CPUExecutionProvider"), ([card], ""))
    code, lines = said(monkeypatch, capsys, model_folder)
    assert code == 0
    assert f"gpu          {card}" in lines
    assert "onnxruntime  1.0 for CUDA, CPU" in lines
    assert not any(line.startswith("to get ") for line in lines)


def test_cudnn_is_missed_where_onnxruntime_could_use_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Path
) -> None:
    card = (["NVIDIA L4, driver 570.1, 20000 MiB of 23034 MiB free"], "")
    machine(monkeypatch, {"cudnn"}, ("CUDAExecutionProvider", "CPUExecutionProvider"), card)
    _, lines = said(monkeypatch, capsys, model_folder)
    [remedy] = [line for line in lines if line.startswith("to get ")]
    assert remedy.startswith(f"to get cudnn: {sys.executable} -m pip install 'onnxruntime-gpu[cuda")


def test_a_card_without_a_driver_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Path
) -> None:
    machine(monkeypatch, set(), ("CUDAExecutionProvider",), hardware=True)
    _, lines = said(monkeypatch, capsys, model_folder)
    [remedy] = [line for line in lines if line.startswith("to get ")]
    assert remedy.startswith("to get the driver: sudo ubuntu-drivers install")


def test_what_does_not_load_is_installed_anew() -> None:
    broken = Library("tensorrt", "", "installed, but does not load: no libnvinfer", "tensorrt<12")
    [remedy] = install_hints.remedies([broken], [], gpu=True)
    assert remedy.endswith("-m pip install --force-reinstall 'tensorrt<12'")


def test_the_cache_is_shown_and_cleared(model_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    name = "0" * 16 + "-" + "1" * 8
    (cache / f"{name}.plan").write_bytes(b"a plan of a hundred kilobytes" * 3500)
    (cache / f"{name}.json").write_text("{}", encoding="utf-8")
    (cache / "mine.txt").write_text("mine", encoding="utf-8")
    found = run("--cache", cache, "--engine", "onnxruntime", "--model", model_folder).stdout
    assert f"cache        1 TensorRT plan, 0.1 MB, {cache}\n" in found
    done = run("--cache", cache, "--clear-cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"removed 0.1 MB from {cache}\n"
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    assert run("--cache", cache, "--clear-cache").stdout == f"removed 0.0 MB from {cache}\n"
    done = run("--cache", cache / "mine.txt", "--clear-cache")
    assert (done.returncode, done.stderr) == (0, "")


def test_requirements_are_the_projects_own() -> None:
    assert system_info.requirement("numpy").startswith("numpy")
    assert any(sign in system_info.requirement("numpy") for sign in "<>=")
    assert "<" in system_info.requirement("onnxruntime")
    assert not system_info.requirement("onnxruntime").startswith("onnxruntime-gpu")
    assert system_info.requirement("never-heard-of") == "never-heard-of"


def module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("__version__ = '9.1'", ""),
        ("raise OSError('libnvinfer.so.10: cannot open')", "libnvinfer.so.10: cannot open"),
        ("import os; os.abort()", "crashed (SIGABRT)"),
        ("", "No package metadata was found for pretended-engine"),
    ],
)
def test_libraries_are_tried_at_a_distance(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module(tmp_path, "pretended_engine", text, monkeypatch)
    found = system_info.library("pretended_engine", "pretended-engine")
    assert "pretended_engine" not in sys.modules
    if problem:
        assert found.version == ""
        assert found.problem.startswith("installed, but does not load: ")
        assert problem in found.problem
    else:
        assert (found.version, found.problem) == ("9.1", "")


def test_a_library_that_does_not_tell_its_version_has_it_from_pip() -> None:
    assert (
        system_info.library("deepmask.runtime.io.rle", "deepmask-trt>=0").version
        == system_info.project_version()
    )


@pytest.mark.skipif(sys.platform != "linux", reason="names of libraries are Linux's")
def test_shared_libraries_are_asked_for_their_version() -> None:
    found = system_info.shared_library(
        "libc", "gnu_get_libc_version", ["no.so.1", "libc.so.6"], "no"
    )
    assert found.version.endswith(", libc.so.6")
    absent = system_info.shared_library("cudnn", "cudnnGetVersion", ["no.so.9", "no.so.8"], "click")
    assert (absent.version, absent.problem) == ("", "not found")
    other = system_info.shared_library("cudnn", "cudnnGetVersion", ["libc.so.6"], "click")
    assert other.version == ""
    assert "undefined symbol: cudnnGetVersion" in other.problem


@pytest.mark.skipif(sys.platform != "linux", reason="names of libraries are Linux's")
def test_a_shared_library_of_a_package_that_does_not_load_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pretended_libs" / "lib").mkdir(parents=True)
    (tmp_path / "pretended_libs" / "lib" / "libc.so.6").write_bytes(b"\x7fELF cut short")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = system_info.shared_library("c", "gnu_get_libc_version", ["libc.so.6"], "pretended_libs")
    assert found.version == ""
    assert "pretended_libs/lib/libc.so.6" in found.problem


def test_an_absent_library_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_info, "ask", lambda command: pytest.fail("tried to import it"))
    assert system_info.library("no_such_engine", "x").problem == "not installed"


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_info.gpus() == ([], "nvidia-smi is not there, so no NVIDIA driver")
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 570.1, 20000 MiB, 23034 MiB'\n", encoding="utf-8")
    tool.chmod(0o755)
    assert system_info.gpus() == (["NVIDIA L4, driver 570.1, 20000 MiB of 23034 MiB free"], "")
    tool.write_text("#!/bin/sh\necho 'no devices were found'; exit 6\n", encoding="utf-8")
    assert system_info.gpus() == ([], "nvidia-smi: no devices were found")


def test_a_command_that_cannot_be_run_is_a_text() -> None:
    assert system_info.ask(["/no/such/command"]) == ("", "No such file or directory")
    assert system_info.ask([sys.executable, "-c", "import sys; sys.exit('a reason')"]) == (
        "",
        "a reason",
    )


def test_the_command_itself_loads_no_library() -> None:
    code = (
        "import sys, deepmask.runtime.cli.doctor;"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'tensorrt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"
