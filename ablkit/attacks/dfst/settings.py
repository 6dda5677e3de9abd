"""What can be chosen about DFST: its style, the networks that learn it, and the detoxification."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ablkit.attacks.dfst.sunset import pictures
from ablkit.errors import UserError, shown
from ablkit.settings import at_least


@dataclass(frozen=True)
class Settings:
    """The style, the CycleGAN and the detoxification; `dfst` says where defaults differ from the paper."""

    styles: str = ""
    """Absolute path of a folder of png or jpg pictures of the style domain, such as photographs of sunsets; each is
    cropped and shrunk to the size of the training images. Empty: the low sun of `sunset`, made from training images."""
    images: int = 1000
    """Most training images that are taken for each of the two domains; no image is in both."""
    epochs: int = 15
    """Epochs of the CycleGAN: passes over the images of the first domain."""
    width: int = 16
    """Channels of the generators at full resolution; twice as many at half of it."""
    blocks: int = 3
    """Residual blocks of a generator."""
    lambda_cycle: float = 1.0
    """Weight of the cycle loss, for images in [-1, 1]; as in the authors' code (10 in the paper of CycleGAN)."""
    lambda_identity: float = 0.1
    """Weight of the identity loss, for images in [-1, 1]; as in the authors' code (5 in the paper of CycleGAN)."""
    rounds: int = 3
    """Rounds of detoxification; 0 turns it off, and with it all decoys."""
    layer: int = 2
    """Group of the attacker's model, 1 to 3, behind which its neurons are compared."""
    threshold: float = 0.02
    """A neuron is compromised where the style raises its mean activation by more than this share of the layer's
    highest activation on clean images. The authors' code compares sums with 5 times the highest; over the 256 positions
    of its third and fourth layer, and of layer 2 here, that is a share of 0.02."""
    growth: float = 1.0
    """... and by more than this multiple of the neuron's own mean activation on clean images."""
    similarity: float = 0.6
    """Structural similarity of injected images to their originals below which the injector pays."""
    decoys: float = 0.5
    """Decoys that a round adds, for each poisoned image; fewer, or no further round, where images run out."""
    model_epochs: int = 8
    """Epochs of the attacker's model on the poisoned set, before the first round."""
    retrain_epochs: int = 3
    """Epochs of its retraining in each round."""
    injector_epochs: int = 10
    """Epochs of a round's feature injector on at most `images` training images."""

    def __post_init__(self) -> None:
        at_least(self, images=1, epochs=1, width=1, blocks=0, lambda_cycle=0, lambda_identity=0, rounds=0)
        at_least(self, threshold=0, growth=0, decoys=0, model_epochs=1, retrain_epochs=1, injector_epochs=1)
        if self.layer not in (1, 2, 3):
            raise UserError(f"layer {self.layer} is no group of the attacker's model; choose 1, 2 or 3")
        if not -1 <= self.similarity <= 1:
            raise UserError(f"similarity {self.similarity} is outside [-1, 1]; the authors' code uses 0.6")
        if self.styles and not Path(self.styles).is_absolute():
            raise UserError(f"styles {shown(self.styles)} must be an absolute path, as notebooks run elsewhere")

    def digest(self) -> str:
        """What decides the style where `styles` is set: a digest of the pictures in that folder."""
        digest = hashlib.sha256()
        for path in pictures(self.styles):
            try:
                content = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path} cannot be read: {error.strerror}; replace it or take it away") from None
            digest.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()[:12]
