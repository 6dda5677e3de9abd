"""Names of classes, as folders and arrays give them: which look alike, which are chosen."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ablkit.errors import UserError, shown


def check_alike(where: str, names: Iterable[str], what: str) -> None:
    """Raise UserError where two names differ only in what not every system tells apart; `what` says what has them."""
    alike: dict[str, str] = {}
    for name in sorted(set(names)):
        other = alike.setdefault(plain(name).casefold(), name)
        if other != name:
            raise UserError(
                f"{where}: the {what} {shown(other)} and {shown(name)} differ in case or in how Unicode writes them"
                " alone, or in blanks around them, which not every system tells apart; rename one, or make them one"
            )


def plain(name: str) -> str:
    """A name in Unicode's composed form without blanks around it."""
    return unicodedata.normalize("NFC", name).strip()


def named(chosen: Iterable[str], there: Iterable[str]) -> tuple[str, ...]:
    """What was chosen as the folders are named: macOS may write them in another form of Unicode than a keyboard."""
    by_form = {unicodedata.normalize("NFC", name): name for name in there} | {name: name for name in there}
    return tuple(by_form.get(name, by_form.get(unicodedata.normalize("NFC", name), name)) for name in chosen)
