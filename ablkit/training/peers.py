"""ABL as other people's kits run it: what the recipe of each changes of the paper's.

Each setting comes from the file that stands above it, at that commit; a comment behind it has the lines where they
are known. "summary": a table of these recipes alone says so, without a file and a line. What was not read is named as
not known and stays as in the preset `paper`.

Only the recipe is theirs. The data, the attack and the model `wrn-16-1` are those of `paper`, so that nothing but the
recipe differs: BackdoorBench trains a PreActResNet-18, BackdoorBox and NAB a ResNet-18, and the model of
backdoor-toolbox was not read.
"""

from __future__ import annotations

PEERS: dict[str, dict[str, object]] = {
    # SCLBD/BackdoorBench f02e353 (2025-07-04), defense/abl.py, whose lines are named, with
    # config/defense/abl/config.yaml. Not known: the epoch from which the learning rate is lower; crop, flip and cutout
    # of its augmentation; the order in phase 1; momentum, Nesterov and weight decay; whether the ascent keeps the
    # momentum of the fine-tuning; by which means and deviations inputs are normalised (here by this kit's).
    "backdoorbench": {
        "normalise": True,  # its inputs are normalised
        "batch_size": 256,
        "isolation_epochs": 20,
        "isolation_loss": "flooding",
        "gamma": 0.5,
        "isolation_rate": 0.01,
        "isolation_learning_rate": 0.01,  # constant: 93-96
        "isolation_augmentation": True,  # summary
        "finetune_epochs": 60,
        "finetune_learning_rate": 0.01,  # 198-203, whatever its argument says (its issue 12)
        "finetune_drop_factor": 0.1,  # 198-203: 0.001 later
        "finetune_augmentation": True,  # 655-668
        "unlearn_epochs": 20,
        "unlearn_learning_rate": 1e-4,  # 217-220, whatever its argument says
        "unlearn_augmentation": True,  # 655-668
    },
    # vtu81/backdoor-toolbox 9d4d909 (2024-07-16), other_defenses_tool_box/anti_backdoor_learning.py. On GTSRB its
    # learning rate is 0.01. Not known: the isolation rate; the learning rates of fine-tuning and ascent, and when the
    # first is lowered; whether all five epochs of ascent train; normalisation and augmentation; the order in phase 1;
    # momentum, Nesterov and weight decay; whether the ascent keeps the momentum of the fine-tuning.
    "toolbox": {
        "batch_size": 64,
        "isolation_epochs": 20,
        "isolation_loss": "flooding",
        "gamma": 0.5,  # summary
        "isolation_learning_rate": 0.1,
        "finetune_epochs": 60,
        "unlearn_epochs": 5,
        "unlearn_batchnorm": "momentum_0",  # 513-516
    },
    # THUYimingLi/BackdoorBox af3afd1 (2025-09-28), core/defenses/ABL.py, whose lines are named, with what its test
    # gives to it. Not known: the isolation rate; the learning rates of fine-tuning and ascent, and the milestones that
    # lower them; normalisation and augmentation; the order in phase 1; momentum and Nesterov; whether the ascent keeps
    # the momentum of the fine-tuning.
    "backdoorbox": {
        "batch_size": 128,
        "isolation_epochs": 20,
        "isolation_loss": "lga",  # 31-53, of the mean over the batch
        "per_sample": False,  # 31-53
        "gamma": 0.5,  # summary
        "isolation_learning_rate": 0.1,
        "finetune_epochs": 70,
        "unlearn_epochs": 5,
        "unlearn_batchnorm": "train",
        "weight_decay": 5e-4,
    },
    # NAB (ICCV 2023): its first step, which is ABL's isolation. What it does with the isolated images (labels and a
    # trigger of its own) is no part of ABL, so that nothing is fine-tuned or unlearned here. All: summary; neither a
    # commit nor a file is known. Not known, too: normalisation and augmentation; the order in phase 1; momentum,
    # Nesterov and weight decay.
    "nab": {
        "batch_size": 64,
        "isolation_epochs": 20,
        "isolation_loss": "lga",
        "gamma": 0.5,
        "isolation_rate": 0.05,
        "isolation_learning_rate": 0.1,
        "finetune_epochs": 0,
        "unlearn_epochs": 0,
    },
}
"""Name of a preset -> settings of a recipe, each with its source; all others are those of `paper`."""
