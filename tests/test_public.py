"""What the package offers: every public name is there and documented, and the code on its front page runs."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sciml

ROOT = Path(__file__).resolve().parent.parent
NAMESPACES = ("datasets", "export", "models", "plot", "waves")
MEMBERS = {name: getattr(sciml, name) for name in sciml.__all__ if name not in NAMESPACES}
MEMBERS |= {
    f"{space}.{name}": getattr(getattr(sciml, space), name)
    for space in NAMESPACES
    for name in getattr(getattr(sciml, space), "__all__", ("discovery", "fit", "solution"))
}
FUNCTIONS = {name: member for name, member in MEMBERS.items() if inspect.isfunction(member)}
VERBS = ("compile", "fit", "simulate", "solve", "export.latex", "export.python")
HEAVY = (
    "jax",
    "diffrax",
    "matplotlib.pyplot",
    "sklearn",
    "IPython",
    "libsbml",
    "onnx",
    "pyoperon",
    "lal",
    "torchdiffeq",
)


def arguments(function):
    return [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]


def test_the_namespaces_are_public():
    assert set(NAMESPACES) <= set(sciml.__all__)
    assert all(inspect.ismodule(getattr(sciml, name)) for name in NAMESPACES)


def test_the_list_of_public_names_has_no_repetition():
    assert len(set(sciml.__all__)) == len(sciml.__all__)


@pytest.mark.parametrize("name", [*MEMBERS, *NAMESPACES])
def test_every_public_name_is_documented(name):
    member = MEMBERS[name] if name in MEMBERS else getattr(sciml, name)
    first = (inspect.getdoc(member) or "").split("\n")[0]
    assert len(first) > 10, f"`{name}` has no docstring"
    assert not re.match(rf"{re.escape(name)}\(", first), f"`{name}` has the docstring that dataclasses make"


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if arguments(function)])
def test_every_argument_of_a_public_function_is_described(name):
    text = inspect.getdoc(FUNCTIONS[name])
    assert "Args:" in text
    described = text.split("Args:")[1]
    for parameter in arguments(FUNCTIONS[name]):
        assert re.search(rf"\b{parameter.name}\b[^:\n]*:", described), (
            f"`{parameter.name}` of `{name}` is not described"
        )


@pytest.mark.parametrize("name", VERBS)
def test_the_main_verbs_have_an_example(name):
    assert ">>>" in inspect.getdoc(FUNCTIONS[name]).split("Example:")[1]


@pytest.mark.parametrize("name", sciml.models.__all__)
def test_every_model_has_an_example_and_a_reference(name):
    text = inspect.getdoc(getattr(sciml.models, name))
    assert ">>>" in text
    assert "Reference:" in text


def test_importing_the_package_does_not_import_what_is_optional_or_slow():
    code = f"import sys, sciml; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []


def test_the_version_is_that_of_the_distribution():
    declared = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert sciml.__version__ == declared[1]


# What makes the code of a page quick enough for a test, without changing what it calls.
SHORTER = {"steps=2000": "steps=20", "steps=1000": "steps=20", "steps=500": "steps=20"}


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_the_code_on_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    code = blocks(page) if page.exists() else []
    if not code:
        pytest.skip(f"{page.name} has no Python code yet")
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for number, block in enumerate(code):
        for slow, quick in SHORTER.items():
            block = block.replace(slow, quick)
        exec(compile(block, f"{page.name}, block {number + 1}", "exec"), namespace)
    promised = re.findall(r"print\(.*\)\s+# (System\(.*\))$", "\n".join(code), re.MULTILINE)
    assert all(line in capsys.readouterr().out for line in promised[:1])
