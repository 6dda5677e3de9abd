"""One notebook through papermill in this process; imports no torch, as two seconds for each of 200 runs would show."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

import psutil

from ablkit import provenance
from ablkit.errors import UserError
from ablkit.files import read_json, write_json, write_text

DESCRIPTORS = "ABLKIT_DESCRIPTORS"
"""Variable with the numbers of the open files that hold the locks of the run: the kernel is to hold them too."""
PACKAGE = "ABLKIT_PACKAGE"
"""Variable that says which code the run was planned with, see `provenance.planned`."""


def main(source: Path, folder: Path, private: Path) -> int:
    """Execute the notebook `source` into `folder`; a failure leaves `failure.json` and a non-zero exit code.

    Args:
        private: a private folder with a short name, for sockets: their paths are capped near 100 bytes, and ports would
            be raced for. It is the parent's, so that it goes even if this process is killed.
    """
    # What checks the form of notebooks would compile a grammar of international addresses first, which none of them
    # has: two seconds, half of what a short run takes.
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill
    from papermill.exceptions import PapermillExecutionError

    try:
        provenance.check_planned(os.environ[PACKAGE])
        papermill.execute_notebook(
            _plain(source),
            _plain(folder / "notebook.ipynb"),
            read_json(folder / "params.json")["parameters"],
            cwd=str(folder),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stdout,
            **_kernel(private),
        )
    except PapermillExecutionError as error:
        failure = {"cell": last_cell(folder), "error": error.ename, "message": error.evalue or " "}
    except Exception as error:  # whatever it is, the parent has to hear of it
        failure = {"cell": last_cell(folder), "error": type(error).__name__, "message": str(error) or " "}
    else:
        return 0
    with contextlib.suppress(UserError, OSError):  # on a full disk: the parent meets it too, and says so
        write_json(folder / "failure.json", failure)
    return 1


def _plain(path: Path) -> str:
    """A path in which papermill, which would fill them in, finds no names of parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _kernel(private: Path) -> dict:
    """The options of papermill for a kernel of this very Python, which imports nothing from its current folder."""
    from jupyter_client.manager import AsyncKernelManager
    from traitlets.config import Config

    descriptors = tuple(map(int, os.environ[DESCRIPTORS].split()))

    class Manager(AsyncKernelManager):
        async def start_kernel(self, **options) -> None:
            await super().start_kernel(**options, pass_fds=descriptors)

    command = [sys.executable, "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    command.append("--InteractiveShellApp.ignore_cwd=True")
    specification = {"argv": command, "display_name": "Python 3", "language": "python"}
    write_text(private / "jupyter" / "kernels" / "python3" / "kernel.json", json.dumps(specification))
    return {
        "kernel_name": "python3",
        "kernel_manager_class": Manager,
        "config": Config({"KernelManager": {"transport": "ipc", "ip": f"{private}/k"}}),
    }


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
