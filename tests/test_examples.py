"""Scripts: each one says what it shows and takes the options that all of them have."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("[a-z]*.py")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_script_says_what_it_shows_and_takes_the_common_options(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    first = path.read_text().split('"""')[1].splitlines()[0]
    assert len(first) > 20
    assert first in text
    assert len(text.split("options:")[0]) > 200, "the help does not say what the script shows"
    for option in ("--quick", "--seed", "--out", "--json"):
        assert option in text


def test_there_are_scripts_and_the_full_run_covers_all_of_them():
    assert {path.parent.name for path in SCRIPTS} == {"examples", "benchmarks"}
    run = (ROOT / ".ci" / "run").read_text()
    assert "examples/*.py benchmarks/[a-z]*.py" in run
    assert '"$script" --quick' in run
