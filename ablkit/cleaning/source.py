"""What is to be cleaned: a data set by its name, or a folder of images, which becomes one first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ablkit import data, paths
from ablkit.data import checks
from ablkit.data.importing import check_same, import_images
from ablkit.errors import UserError, shown
from ablkit.files import status_of


def found(
    given: str, name: str | None = None, *, fits: Callable[[str], None] | None = None, **told: object
) -> tuple[str, Path | None]:
    """The name of the data set that `given` stands for, imported now if need be, and the folder of its files.

    A bare word is the name of a data set, unless a folder or file of that name lies in the current one: then it is
    that. What was imported before is not imported again, if it still has the same files, and the options that are told.

    Args:
        name: of the data set that a folder becomes; by default that of the folder.
        fits: takes the name of the data set, and raises UserError where nothing can be done with it. What was imported
            now is then deleted again, so that the folder can be mended and given once more.
        told: options of `import_images`; those that are None keep their defaults.

    Raises UserError where it is neither, where a folder without `name` is named as no data set can be or as one of the
    kit, and where the data set of that name was made of something else.
    """
    own = {option: value for option, value in told.items() if value is not None}
    if _is_data_set(given):
        _refuse_import_options(given, {"name": name, **told})
        return given, None
    folder = Path(given).expanduser()
    if status_of(folder) is None:
        data.prepare(given)  # which says what is near it
    named = _name_of(folder) if name is None else name
    made = paths.data_root() / named
    if (made / "meta.json").is_file():
        way_out = f"give another --name, or delete {made} first"
        check_same(folder, made, own, way_out)
        print(f"{folder} was imported before, as data set {named}")
    else:
        import_images(folder, named, **own)
        if fits is not None:
            _keep_if(fits, named, made)
    return named, folder if folder.is_dir() else None


def _keep_if(fits: Callable[[str], None], name: str, made: Path) -> None:
    try:
        fits(name)
    except UserError:
        shutil.rmtree(made)
        raise


def mirror_note(name: str, flip: bool) -> str:
    """What a stranger should know of a training that mirrors its images; empty where it mirrors none.

    Args:
        flip: of the recipe; a data set may say of itself that no training mirrors it.
    """
    if not (flip and data.load(name)[0].mirrors):
        return ""
    return (
        "Images were mirrored at random while training; if a mirrored image means something else (signs, text), run it"
        " again with -p flip false."
    )


def _name_of(folder: Path) -> str:
    """The name of a folder, for a data set that is made of it; raises UserError where it can be none's."""
    named = folder.resolve().name
    if named in data.DATASETS:
        raise UserError(
            f"{folder} is a folder here, and {named} the name of a data set of the kit, too: for the folder give"
            " another --name, for the data set run this where no such folder is"
        )
    if reason := checks.fault_of_name(named) or data.reserved(named):
        raise UserError(f"{folder}: its name {shown(named)} {reason}; give another with --name, such as pets")
    return named


def _is_data_set(given: str) -> bool:
    made, here = paths.data_root() / given, Path(given)
    if given != os.path.basename(given):
        return False
    if here.exists():
        return (made / "meta.json").is_file() and here.samefile(made)
    return given in data.DATASETS or (made / "meta.json").is_file()


def _refuse_import_options(given: str, told: dict) -> None:
    """Raise UserError for the first option that only an import takes; a seed draws more than that."""
    for option, value in told.items():
        if value is not None and option != "seed":
            flag = f"--{option.replace('_', '-')}"
            said = ",".join(value) if isinstance(value, list) else value
            raise UserError(f"{given} is a data set already, so {flag} {said} has no meaning; leave it out")
