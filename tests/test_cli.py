"""The command line: each command does what its verb does, and bad words end with one line and an exit code."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sciml.cli import main, parser

MODEL = """
import sympy as sp
from sciml import Parameter, System
x, k = sp.symbols("x k", real=True)
decay = System({x: -k * x}, parameters={k: Parameter(1.0, bounds=(0, None))}, initial={x: 2.0})
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    times = np.linspace(0, 2, 9)
    pd.DataFrame({"x": 2 * np.exp(-1.5 * times)}, index=pd.Index(times, name="t")).round(4).to_csv(
        tmp_path / "data.csv"
    )
    return tmp_path


def test_a_fit_is_saved_simulated_and_exported(folder, capsys):
    model, data, saved = f"{folder}/model.py:decay", f"{folder}/data.csv", f"{folder}/decay.sciml"
    assert main(["fit", model, data, "--out", saved, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["estimates"]["k"] == pytest.approx(1.5, rel=5e-3)
    assert found["converged"]
    assert main(["simulate", saved, "--until", "1", "--points", "3"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "t,x"
    assert float(rows[-1].split(",")[1]) == pytest.approx(2 * np.exp(-1.5), rel=1e-2)
    assert main(["simulate", model, "--until", "1", "--out", f"{folder}/table.csv"]) == 0
    assert len(pd.read_csv(f"{folder}/table.csv")) == 101
    capsys.readouterr()
    assert main(["export", saved, "--to", "latex"]) == 0
    assert r"\dot{x}" in capsys.readouterr().out
    assert main(["export", saved, "--to", "python", "--out", f"{folder}/decay.py"]) == 0
    assert "def rhs" in (folder / "decay.py").read_text()


def test_a_law_is_discovered_from_a_saved_fit(folder, hybrid, capsys):
    hybrid.save(folder / "hybrid.sciml")
    assert main(["discover", f"{folder}/hybrid.sciml", "--out", f"{folder}/law.sciml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "growth" not in found["equations"].replace("c_growth", "")
    assert (folder / "law.sciml").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit {0}/model.py:decai {0}/data.csv", "defines no System `decai`. It has `decay`. Did you mean `decay`?"),
        ("fit {0}/model.py {0}/data.csv", "write the file, a colon and the name, `model.py:system`"),
        ("fit {0}/none.py:decay {0}/data.csv", "there is no file"),
        ("fit {0}/model.py:decay {0}/none.csv", "cannot be read as a table"),
        ("export {0}/none.sciml --to latex", "there is no file"),
        ("simulate {0}/model.py:decay --until 1 --points 1", "at least 2 are needed"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_exit_code_1(words, message, folder, capsys):
    assert main(words.format(folder).split()) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_wrong_usage_has_exit_code_2_and_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fti"])
    assert ended.value.code == 2
    for word in ("fit", "simulate", "discover", "export", "MODEL.py is imported"):
        assert word in parser().format_help()


def test_the_command_is_declared_to_installers():
    declared = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text()
    assert '[project.scripts]\nsciml = "sciml.cli:main"' in declared
