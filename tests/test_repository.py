"""What the hosting site reads: workflows, issue forms; and that they run what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.github-issue-forms": ROOT / ".github" / "ISSUE_TEMPLATE",
}


def check(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    return subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_fit_the_published_schema(schema: str, tmp_path: Path) -> None:
    files = sorted(SCHEMAS[schema].glob("*.yml"))
    assert len(files) == 2
    done = check(schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(re.sub("(jobs|body):", "tasks:", files[0].read_text(encoding="utf-8")))
    if schema.startswith("vendor"):
        assert check(schema, wrong).returncode == 1


def test_every_supported_python_is_tested() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r"Python :: (3\.\d+)", project)
    matrix = re.search(r"python: \[(.*)\]", (WORKFLOWS / "tests.yml").read_text(encoding="utf-8"))
    assert matrix
    assert re.findall(r"3\.\d+", matrix[1]) == supported


def test_the_command_that_is_run_is_the_readmes() -> None:
    finder = re.search(r"awk .* README\.md", (WORKFLOWS / "tests.yml").read_text(encoding="utf-8"))
    assert finder
    done = subprocess.run(
        ["bash", "-c", finder[0]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- tests -->\n```bash\n(.*?)```", readme, re.DOTALL)
    assert block
    assert done.stdout == block[1]


def test_every_long_form_is_scheduled() -> None:
    text = (WORKFLOWS / "long.yml").read_text(encoding="utf-8")
    scheduled = set(re.findall(r"python -m (tests\.\w+)", text))
    forms = {f"tests.{path.parent.name}" for path in (ROOT / "tests").glob("*/__main__.py")}
    assert (
        scheduled == forms == {f"tests.{name}" for name in ("faults", "fuzz", "load", "stand_in")}
    )
    assert (ROOT / "tests" / "export" / "test_ahead_of_time.py").is_file()
    assert "schedule:" in text


def test_what_contributing_names_is_there() -> None:
    """Files, `python -m` commands and the names that its steps point to."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = {one for one in re.findall(r"`([\w./-]+/[\w./-]+)`", text) if "NAME" not in one}
    paths |= set(re.findall(r"\]\((\S+)\)", text)) | set(re.findall(r"pytest (\w+/\S*)", text))
    assert len(paths) > 15
    assert [one for one in sorted(paths) if not (ROOT / one).exists()] == []
    for module in re.findall(r"python -m ([\w.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    named = re.findall(r"`(\w+)` in\s+`([\w./]+\.py)`", text)
    named += [(name, path) for path, name in re.findall(r"`([\w./]+\.py)` add .*?`(\w+)`", text)]
    assert len(named) >= 5
    for name, path in named:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (name, path)


def test_contributing_names_every_function_that_a_family_needs() -> None:
    text = (ROOT / "networks" / "family.py").read_text(encoding="utf-8")
    fields = text.split("\nclass Family(")[1].split("\nAnyFamily")[0]
    needed = set(re.findall(r"^    (\w+): Callable\[.*\]$", fields, re.MULTILINE))
    steps = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a network")[1]
    assert len(needed) >= 5
    assert needed <= set(re.findall(r"`(\w+)[`(]", steps))
