"""The arms of the comparison of what unlearns: ABL's unlearning, each time with one part of it changed."""

from __future__ import annotations

from collections.abc import Mapping

from ablkit import settings
from ablkit.errors import unknown

GROUP_NORM = "-gn"
_SAME = {
    "method": "unlearn",
    "method_settings": "",
    "carry_momentum": True,
    "unlearn_batchnorm": "train",
    "model": "",
}
"""What an arm has where it says nothing else; `model` is what stands behind the name of the model."""
ARMS: dict[str, dict] = {
    "train": {},
    "statistics": {"method_settings": "batchnorm=statistics"},
    "frozen": {"method_settings": "batchnorm=frozen"},
    "frozen_longer": {"method_settings": "batchnorm=frozen, epochs=60, stop=0.1"},
    "kept": {"method_settings": "batchnorm=kept"},
    "bounded": {"method_settings": "loss=bounded"},
    "relabel": {"method_settings": "loss=relabel"},
    "alternating": {"method_settings": "schedule=alternating"},
    "joint": {"method_settings": "schedule=joint, stop=0.1"},
    "joint_statistics": {"method_settings": "batchnorm=statistics, schedule=joint"},
    "carried": {"method": "abl"},
    "fresh": {"method": "abl", "carry_momentum": False},
    "batch_statistics": {"method": "abl", "carry_momentum": False, "unlearn_batchnorm": "momentum_0"},
    "group_norm": {"model": GROUP_NORM},
}
"""Arm -> in what it differs from the unlearning by parts with its defaults, which is the arm `train`."""


def settings_of(name: str) -> dict:
    """What an arm sets; raises UserError for one that does not exist."""
    if name not in ARMS:
        raise unknown("arm", name, ARMS)
    return _SAME | ARMS[name]


def arm_of(values: Mapping[str, object]) -> str | None:
    """The arm that a run of run.ipynb is one of, by its parameters; None where it is none.

    In all else, such as the model and the recipe, arms are compared as they come.
    """
    is_grouped = str(values["model"]).endswith(GROUP_NORM)
    own = settings.parse(str(values["method_settings"]), "method_settings")
    found = {key: values[key] for key in ("method", "carry_momentum", "unlearn_batchnorm")}
    for name, changes in ARMS.items():
        arm = _SAME | changes
        wanted = {key: arm[key] for key in found}
        same = own == settings.parse(arm["method_settings"]) and is_grouped == bool(arm["model"])
        if same and found == wanted:
            return name
    return None
