"""One notebook through papermill in this process; imports no torch, as two seconds for each of 200 runs would show."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import psutil

from ablkit.files import read_json, write_json


def main(source: Path, folder: Path, sockets: Path) -> int:
    """Execute the notebook `source` into `folder`; a failure leaves `failure.json` and a non-zero exit code.

    Args:
        sockets: a private folder with a short name: socket paths are capped near 100 bytes, and ports would be raced
            for. It is the parent's, so that it goes even if this process is killed.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    try:
        papermill.execute_notebook(
            str(source),
            str(folder / "notebook.ipynb"),
            read_json(folder / "params.json")["parameters"],
            kernel_name="python3",
            cwd=str(folder),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stdout,
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/k"}}),
        )
    except PapermillExecutionError as error:
        failure = {"cell": last_cell(folder), "error": error.ename, "message": error.evalue or " "}
    except Exception as error:  # whatever it is, the parent has to hear of it
        failure = {"cell": last_cell(folder), "error": type(error).__name__, "message": str(error) or " "}
    else:
        return 0
    write_json(folder / "failure.json", failure)
    return 1


def last_cell(folder: Path) -> str:
    """The id of the cell that was started last; its state is not to be trusted, as a dead kernel's reads completed."""
    try:
        cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
    except (OSError, ValueError):
        return "unknown"
    started = {cell["id"]: cell["metadata"].get("papermill", {}).get("start_time") for cell in cells}
    return max((when, name) for name, when in started.items() if when)[1] if any(started.values()) else "unknown"


def die_with_parent() -> None:
    """Wait, in a thread of its own, for the end of the parent, and end this process and all that it has started."""
    # The parent holds the other end of standard input, and never writes: its end means that the parent is gone.
    # Not through sys.stdin: a thread that waits in there would block the end of the interpreter.
    os.read(0, 1)
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=die_with_parent, daemon=True).start()
    sys.exit(main(*map(Path, sys.argv[1:])))
