"""Other ways to use the images that ABL has isolated."""

from __future__ import annotations

from ablkit.defenses import named
from ablkit.report.collect import Collection
from ablkit.report.page import Page
from ablkit.report.pages.defenses import of_methods


def page(c: Collection) -> Page:
    """The ways to use the isolated images, beside ABL's gradient ascent."""
    names = ["abl", *named("ways"), "oracle"]
    text = (
        "Hypothesis (paper, comparison of ways to unlearn): of all ways to use the isolated 1 % gradient ascent removes"
        " the backdoor best. Training again without them is the control: 1 % is too little to leave out. The row of"
        " gradient ascent is ABL's own last stage, started without the momentum of the fine-tuning."
    )
    title = "Unlearning: what to do with the isolated images"
    return of_methods(c, "unlearning.html", title, "Unlearning", names, text, "unlearning", "gradient_ascent", "ways")
