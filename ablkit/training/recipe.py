"""Every setting of the two-phase training, with the paper's and the authors' released values."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from ablkit import models
from ablkit.data.images import Images, check_shape
from ablkit.errors import UserError, unknown
from ablkit.settings import at_least
from ablkit.training import scores
from ablkit.training.peers import PEERS
from ablkit.training.scores import IsolationScore

Schedule = Literal["sequential", "joint"]
IsolationLoss = Literal["lga", "flooding", "plain"]
BatchNorm = Literal["train", "eval", "momentum_0"]
Crop = Literal["padded", "resized"]


@dataclass(frozen=True)
class Recipe:
    """Settings of ABL. The defaults are the paper's; where the paper is silent, the authors' code decides (C)."""

    model: str = "wrn-16-1"
    """`wrn-DEPTH-WIDTH`, with `-gn` behind it group norm in the place of batch norm; or `resnet-18`, `resnet-34`,
    `preact-resnet-18`, `vgg-16-bn`, `mobilenet-v3-small`, `mobilenet-v3-large`."""
    normalise: bool = False
    """Normalise the input inside the model; the authors' code does not (C)."""
    batch_size: int = 128
    """Mini-batch of every stage; 64 before August 2022 (C)."""
    isolation_epochs: int = 20
    """Epochs of phase 1, the turning epoch T_te."""
    isolation_loss: IsolationLoss = "lga"
    """`lga`, `flooding` or `plain` cross entropy."""
    gamma: float = 0.5
    """Threshold of LGA and level of flooding."""
    per_sample: bool = False
    """Apply the isolation loss to each example before the mean, not to the mean (C: the mean)."""
    isolation_rate: float = 0.01
    """Share p of the training set with the lowest loss that is isolated."""
    isolation_score: IsolationScore = "loss"
    """What isolation ranks on: the `loss` (the paper), the loss with batch norm statistics re-estimated
    (`fresh_statistics`), the same under averaged weights (`averaged`), the `median` of the loss over the epochs, or its
    geometric mean over the last three (`last_three`)."""
    trajectories: str = ""
    """Scores that are kept of every example after each epoch of phase 1, with spaces between: `loss`,
    `fresh_statistics`, `averaged`. That a score is kept changes no result. Runs keep the loss whatever this says."""
    average_decay: float = 0.99
    """Of the averaged weights, in each step of phase 1."""
    statistics_images: int = 2048
    """Training images that batch norm statistics are re-estimated on."""
    isolation_learning_rate: float = 0.1
    """Constant through phase 1 (C)."""
    isolation_shuffle: bool = True
    """Draw a new order each epoch in phase 1; the authors' code keeps the file's order (C)."""
    isolation_augmentation: bool = False
    """Crop, flip and cutout in phase 1 (C: none)."""
    schedule: Schedule = "sequential"
    """`sequential`: fine-tune on D_c, then ascend on D_b (C). `joint`: both in every step, the paper's equation,
    for finetune_epochs + unlearn_epochs epochs with the settings of the fine-tuning."""
    joint_weight: float = 1.0
    """Weight of the ascent in the joint schedule; 1 is the paper's equation, which has no lower bound."""
    finetune_epochs: int = 60
    """Epochs on the examples that were not isolated."""
    finetune_learning_rate: float = 0.1
    """Learning rate of the fine-tuning before its drop (C)."""
    finetune_drop_epoch: int = 40
    """Fine-tuning epoch from which the learning rate is lowered (C)."""
    finetune_drop_factor: float = 0.1
    """What the learning rate is multiplied by at the drop (C)."""
    finetune_augmentation: bool = True
    """Crop, flip and cutout while fine-tuning (C)."""
    unlearn_epochs: int = 20
    """Epochs of gradient ascent on the isolated examples."""
    unlearn_learning_rate: float = 5e-4
    """Learning rate of the ascent (C)."""
    unlearn_augmentation: bool = False
    """Crop, flip and cutout in the ascent (C: none)."""
    unlearn_batchnorm: BatchNorm = "train"
    """Batch norm in the ascent. `train`: each batch is normalised by its own statistics, and the running ones move (C).
    `eval`: the running ones are used and kept. The ascent then hardly moves the model: it works through the statistics
    of batches that hold nothing but poisoned images. `momentum_0`: each batch is normalised by its own statistics, and
    the running ones are kept (backdoor-toolbox)."""
    carry_momentum: bool = True
    """Keep the fine-tuning's optimiser state in the ascent (C)."""
    momentum: float = 0.9
    """SGD momentum (C)."""
    nesterov: bool = True
    """Nesterov's form of the momentum (C)."""
    weight_decay: float = 1e-4
    """L2 penalty (C)."""
    crop: Crop = "padded"
    """`padded`: a window of the image with `crop_padding` zeros around it (C). `resized`: a part of the image, enlarged
    to its size, for images of more than about 64 pixels."""
    crop_padding: int = 4
    """Zero pixels on each side before a random crop of the original size (C)."""
    crop_area: float = 0.08
    """Smallest share of the image that a `resized` crop takes; a small trigger may lie outside of it."""
    flip: bool = True
    """Mirror half of the images left to right (C). Never done on a set whose classes that would change; see
    `Images.mirrors`."""
    cutout_length: int = 2
    """Side of the square that cutout blanks; the authors' "length 3" blanks 2 x 2 pixels (C)."""

    def __post_init__(self) -> None:
        models.check(self.model)
        for name, choices in (
            ("schedule", Schedule),
            ("isolation_loss", IsolationLoss),
            ("isolation_score", IsolationScore),
            ("unlearn_batchnorm", BatchNorm),
            ("crop", Crop),
        ):
            if getattr(self, name) not in get_args(choices):
                raise unknown(name, getattr(self, name), get_args(choices))
        if not 0 < self.isolation_rate < 1:
            raise UserError(f"isolation_rate {self.isolation_rate} is outside (0, 1); the paper uses 0.01")
        if self.batch_size < 2:
            raise UserError(
                f"batch_size {self.batch_size} is too small for batch norm; the paper's code uses 64 or 128"
            )
        if not 0 < self.crop_area <= 1:
            raise UserError(f"crop_area {self.crop_area} is outside (0, 1]; ImageNet is trained with 0.08")
        at_least(self, **_SMALLEST)
        scores.named(self.trajectories)
        for name in ("momentum", "weight_decay", "average_decay"):
            if getattr(self, name) >= 1:
                raise UserError(f"{name} {getattr(self, name)} never converges; choose one below 1")
        if not self.isolation_epochs + self.finetune_epochs:
            raise UserError("isolation_epochs and finetune_epochs are both 0, so nothing would be trained; raise one")
        if self.isolation_score != "loss" and not self.isolation_epochs:
            raise UserError(f"isolation_score {self.isolation_score} needs isolation_epochs of at least 1")
        if self.nesterov and self.momentum == 0:
            raise UserError("nesterov needs a momentum above 0; set nesterov False or momentum 0.9")

    def fitting(self, data: Images) -> Recipe:
        """This recipe with what a data set forbids switched off."""
        return self if data.mirrors else replace(self, flip=False)

    def check_images(self, shape: tuple[int, ...], name: str = "training") -> None:
        """Raise UserError, in the name of a data set, where images of (height, width, channels) do not fit this.

        They have to be RGB and large enough for the model, and the crop and the cutout no larger than they are.
        """
        check_shape(shape, name)
        size, side = f"{shape[0]} x {shape[1]}", min(shape[:2])
        smallest = models.smallest_side(self.model)
        if side < smallest:
            raise UserError(
                f"{name}: images of {size} are too small for the model {self.model}, which halves them several times;"
                f" give at least {smallest} x {smallest}, such as by repeating their pixels"
            )
        for setting in ("crop_padding", "cutout_length"):
            if getattr(self, setting) > side:
                raise UserError(
                    f"{setting} {getattr(self, setting)} is more than images of {size} have pixels; choose 0 to {side}"
                )


_SMALLEST = {
    "batch_size": 2,
    "gamma": 0,
    "joint_weight": 0,
    "momentum": 0,
    "average_decay": 0,
    "statistics_images": 2,
    "weight_decay": 0,
    "crop_padding": 0,
    "cutout_length": 0,
    **{f.name: 0 for f in fields(Recipe) if f.name.endswith(("_epochs", "_epoch", "_learning_rate", "_factor"))},
}

RECIPES = {
    "paper": Recipe(),
    # What the authors' code really does: their own loss is flooding, and of five unlearning epochs four train.
    "released": Recipe(
        isolation_epochs=10,
        isolation_loss="flooding",
        isolation_shuffle=False,
        finetune_epochs=60,
        unlearn_epochs=4,
    ),
    # 40 epochs in place of the paper's 100, on a fifth of its images, the learning rate dropped at two thirds of the
    # fine-tuning as in the paper. On so few images the backdoor is learned in epochs 3 to 5, and isolation may decay
    # soon after. The turning epoch is no clean choice: 5 and 8 were given up after isolation failed there on seed 0
    # (precision 0.66, in an earlier draw, and 0.32), which the reports show; 6 was then taken as it was precise (0.96
    # or more) on the seeds 100, 101, 102, 103 and 105. Seeds 1 and 2 had no part in it. Batch 64 is that of the
    # authors' published logs; 20 unlearning epochs on 100 isolated images take as many steps (40) as the published
    # five on 500.
    "quick": Recipe(batch_size=64, isolation_epochs=6, finetune_epochs=14, finetune_drop_epoch=9, unlearn_epochs=20),
    "smoke": Recipe(
        model="wrn-10-1",
        batch_size=32,
        isolation_epochs=2,
        isolation_rate=0.05,
        finetune_epochs=2,
        finetune_drop_epoch=1,
        unlearn_epochs=2,
    ),
    **{name: Recipe(**own) for name, own in PEERS.items()},
}
"""`paper` and `released` are the settings to reproduce; `quick` fits a laptop, `smoke` a test. The others are those of
`peers`: ABL as other kits run it."""


def recipe(name: str = "paper", **changes) -> Recipe:
    """The named recipe with some settings changed; raises UserError for an unknown name, setting or value."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    known = {f.name for f in fields(Recipe)}
    for key in changes:
        if key not in known:
            raise unknown("recipe setting", key, known)
    return replace(RECIPES[name], **changes)
