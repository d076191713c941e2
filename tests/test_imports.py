"""Imports point one way, the packages are this checkout's, the core works without extras, nothing is unpickled."""

import ast
import importlib
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agents", "envs", "search", "monitor", "gurgeh")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

OURS_ALLOWED = {  # DESIGN: who may know whom
    "envs": ("envs",),
    "search": ("search",),
    "agents": ("agents", "search", "envs.game", "envs.batch", "envs.solver", "envs.tokens"),  # solver: perfect players
    "monitor": ("monitor",),
    "gurgeh": PACKAGES,
}
THIRD_PARTY_ALLOWED = {  # None: whatever pyproject.toml names
    "envs": None,
    "search": {"torch", "numpy", "numba", "llvmlite", "triton"},  # llvmlite: numba's own compiler
    "agents": {"torch", "numpy", "numba"},
    "monitor": {"numpy", "scipy", "torch"},
    "gurgeh": None,
}
TORCH_IN_MONITOR = {"measures.py"}  # what looks into a network; the rest reads numbers
EXTRAS = (
    "ale_py", "Box2D", "minatar", "pettingzoo", "pygame", "rlcard", "chess", "shimmy", "pyspiel", "open_spiel",
    "minigrid", "mpe2", "multi_agent_ale_py", "mujoco", "envpool", "ray", "plotly", "pandas", "pytest", "hypothesis",
    "bitbully", "bitbully_databases", "ruptures", "changepoint_online", "sklearn", "textarena", "textworld",
)  # fmt: skip
UNPICKLERS = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}


def imports(path):
    """[(dotted name, line)] of every import in a file, also inside functions; `from a import b` as a.b."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its direction"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def is_within(name, allowed):
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def wrong_imports(path, package):
    """Lines that import what `package` may not know."""
    wrong = []
    for name, line in imports(path):
        top = name.split(".")[0]
        third_party = THIRD_PARTY_ALLOWED[package]
        if top in PACKAGES:
            bad = not is_within(name, OURS_ALLOWED[package])
        elif top in sys.stdlib_module_names or third_party is None:
            bad = False
        else:
            bad = top not in third_party or (
                package == "monitor" and top == "torch" and path.name not in TORCH_IN_MONITOR
            )
        if bad:
            wrong.append(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{line}: {name}")
    return wrong


def test_the_packages_have_files():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    wrong = [
        entry for path in FILES if path.relative_to(ROOT).parts[0] == package for entry in wrong_imports(path, package)
    ]
    assert not wrong, f"{package} may import {OURS_ALLOWED[package]} and {THIRD_PARTY_ALLOWED[package]}: {wrong}"


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("envs", "import agents.network"),
        ("search", "def f():\n    from envs.game import GameSpec"),
        ("agents", "from envs import registry"),
        ("agents", "import gurgeh"),
        ("monitor", "import torch"),
        ("monitor", "if True:\n    from agents import network"),
        ("search", "import scipy"),
    ],
)
def test_the_rule_can_fail(tmp_path, package, line):
    (tmp_path / "module.py").write_text(line)
    assert wrong_imports(tmp_path / "module.py", package)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_this_checkout(package):
    """`agents` and `envs` are names that other distributions use as well."""
    module = importlib.import_module(package)
    assert Path(module.__file__).resolve().parent == ROOT / package


def test_every_package_is_listed():
    """pyproject.toml lists packages by hand; a new folder must be added there."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}
    assert set(listed) == present


def test_nothing_is_unpickled():
    wrong = []
    for path in FILES:
        wrong += [f"{path}:{line}: {name}" for name, line in imports(path) if name.split(".")[0] in UNPICKLERS]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            call = ast.unparse(node.func)
            if (call == "torch.load" and keywords.get("weights_only") != "True") or "allow_pickle" in keywords:
                wrong.append(f"{path}:{node.lineno}: {call}")
    assert not wrong


def fresh_python(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )


def test_the_core_imports_without_extras():
    """Every module, in an interpreter that has none of the extras."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if path.stem != "__main__"]
    result = fresh_python(
        f"""
        import importlib, sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {EXTRAS!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Missing())
        for name in {names!r}:
            importlib.import_module(name.removesuffix(".__init__"))
        """
    )
    assert result.returncode == 0, result.stderr
