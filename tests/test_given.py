"""Nothing that a user gives to a notebook is dropped in silence: on the command line, through papermill, in Jupyter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest

from ablkit import runs
from ablkit.errors import UserError
from ablkit.runs.parameters import check, given

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CELL = "attack: str = 'badnets'\nseed: int = 0"
START = "from ablkit import runs\nrun = runs.start('run', globals())"


def judged(*cells: str, **variables: object) -> dict:
    """What is judged of a kernel in which these cells have run, and left these variables."""
    return given("run", {"In": ["", *cells, START], "Out": {}, "runs": runs, **variables})


@pytest.mark.parametrize(
    "values",
    [
        {"seed": [3, 4]},
        {"poison_rate": None},
        {"seed": "3"},
        {"seed": np.float64(0.5)},
        {"seed": np.arange(3)},
        {"poison_rates": [0.3]},
        {"poison_rates": None},
    ],
    ids=str,
)
def test_a_value_of_another_type_or_a_misspelt_name_is_refused(values, folders):
    with pytest.raises(UserError, match="of run"):
        runs.start("run", values)
    assert not folders.exists()


def test_the_parameters_of_a_comparison_are_judged_too(folders):
    for wrong in ({"attack_names": ["badnets", "blend"]}, {"seeds": [5, 6]}):
        with pytest.raises(UserError, match="input should be a valid string"):
            runs.start("attacks", wrong)
    with pytest.raises(UserError, match="gamma is no parameter of attacks; set it in changes, as"):
        runs.start("attacks", {"gamma": 0.4})


def test_numbers_of_numpy_count_as_pythons():
    values = given("run", {"seed": np.int64(3), "poison_rate": np.float32(0.25), "released": np.bool_(True)})
    assert check("run", values).model_dump().items() >= {"seed": 3, "poison_rate": 0.25, "released": True}.items()


def test_what_other_cells_leave_is_no_parameter():
    assert judged(CELL, "for i in range(3):\n    total = i", seed=0, i=2, total=2) == {"seed": 0}
    assert judged(CELL, "note = 1", seed=0, note=1) == {"seed": 0}
    assert judged("%matplotlib inline\nx = 1", CELL, seed=0, x=1) == {"seed": 0}


def test_a_misspelt_name_in_a_cell_of_parameters_is_judged():
    assert judged(CELL + "\nsede: int = 5", seed=0, sede=5) == {"seed": 0, "sede": 5}
    assert judged(CELL, "# Parameters\npoison_rates = [0.3]\n", seed=0, poison_rates=[0.3])["poison_rates"] == [0.3]
    # Mended and run again, the old cell no longer counts.
    assert judged(CELL + "\nsede = 5", START, CELL, seed=0, sede=5) == {"seed": 0}


def test_a_parameter_counts_whatever_cell_sets_it_last():
    assert judged(CELL, "seed = np.int64(7)", seed=np.int64(7)) == {"seed": 7}


def test_the_paths_that_papermill_injects_are_its_own():
    injected = "# Parameters\nseed = 3\nPAPERMILL_INPUT_PATH = 'a'\nPAPERMILL_OUTPUT_PATH = 'b'\n"
    assert judged(CELL, injected, seed=3, PAPERMILL_INPUT_PATH="a", PAPERMILL_OUTPUT_PATH="b") == {"seed": 3}


def test_a_default_that_is_set_again_after_the_given_value_is_refused():
    with pytest.raises(UserError, match="seed was given, and a later cell sets its default again"):
        judged("# Parameters\nseed = 3\n", CELL, seed=0)
    assert judged(CELL, "# Parameters\nseed = 3\n", "seed = 7", seed=7) == {"seed": 7}  # a user's own doing


def shortened(path: Path, *cells: str) -> Path:
    """run.ipynb up to its start, with further cells after it."""
    made = nbformat.read(NOTEBOOKS / "run.ipynb", as_version=4)
    made.cells = [cell for cell in made.cells if cell.id in ("parameters", "setup")]
    made.cells += [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(made, path)
    return path


def test_through_papermill_a_list_is_refused_and_its_paths_are_not(folders, tmp_path):
    path = shortened(tmp_path / "run.ipynb", "print(f'seed {p.seed}')")
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb"), "-p", "dataset", "digits"]
    wrong = subprocess.run([*command, "-y", "seed: [3, 4]"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "parameter seed of run: input should be a valid integer" in wrong.stderr
    assert not folders.exists()
    good = subprocess.run(
        [*command, "-p", "seed", "3", "--inject-paths", "--log-output"], capture_output=True, text=True
    )
    assert good.returncode == 0 and "seed 3" in good.stderr


def test_run_all_may_follow_run_all(folders, tmp_path):
    made = nbformat.read(shortened(tmp_path / "run.ipynb", "for i in range(3):\n    last = i"), as_version=4)
    made.cells[0].source = made.cells[0].source.replace('"cifar10"', '"digits"  ')
    client = nbclient.NotebookClient(made, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    with client.setup_kernel():
        for _ in range(2):
            for index, cell in enumerate(made.cells):
                client.execute_cell(cell, index)
    assert len(list(folders.glob("run/*/params.json"))) == 1
