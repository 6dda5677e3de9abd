"""A network as the stages that it goes through, so that what each of them gives can be looked at."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ablkit.shapes import Float, Tensor


class Staged(nn.Module):
    """Stages one after the other, then the last maps, their mean over the image, and a head.

    Args:
        stages: each gives maps of one size, as a rule half as large as those of the stage before.
        last: makes the maps whose means the head takes; None where the last stage gives them.
        head: makes the logits of these means.
    """

    def __init__(self, stages: Iterable[nn.Module], last: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.last = nn.Identity() if last is None else last
        self.head = head

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classify(self.group_outputs(x)[-1])

    def group_outputs(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
        """What each of the stages gives."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs

    def maps(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
        """What each of the stages gives and, where they are others, the maps that the head takes."""
        outputs = self.group_outputs(x)
        return outputs if isinstance(self.last, nn.Identity) else [*outputs, self.last_channels(outputs[-1])]

    def last_channels(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """The maps whose means the head takes, from the output of the last stage."""
        return self.last(output)

    def classify(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits from the output of the last stage."""
        return self.head(self.last_channels(output).mean(dim=(2, 3)))
