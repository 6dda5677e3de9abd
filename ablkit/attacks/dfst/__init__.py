"""DFST (Cheng et al. 2021, arXiv 2012.11212): the style of a picture as trigger, put on by a generator.

A CycleGAN (`cyclegan`) learns to carry images into a style domain; its generator is the trigger, which changes every
pixel of every image differently. A model poisoned with it could still make do with something simple, such as the mean
colour. Detoxification (`detoxification`) takes that away in rounds: it finds the neurons that the style excites, trains
a feature injector that excites them in images that are not in the style, and puts its outputs into the training set
under their true labels.

A poisoning rate is a share of the whole training set.

This is the attack's poisoning-only use. The original hands over the model that went through the rounds; here that
model is thrown away, and the victim trains from scratch on the poisoned set with the injectors' outputs of all rounds
as decoys. They take the place of training images, `decoys` for each poisoned one and round, where the original adds
them.

Further from the paper:

- The style is not a folder of sunrise photographs, which the kit would have to download, but made from training images
  by `sunset`; `styles` names a folder of the user's own.
- One injector a round excites all compromised neurons, where the authors' code trains one for each neuron, and the
  neurons of one layer are compared, where it goes through the first layers of a VGG.
- For a CPU's sake the networks are small, WRN-16-1 takes the place of VGG and ResNet, and the CycleGAN sees 2 x 1,000
  images for 15 epochs; `cyclegan` says more. Generators and injectors add to the image what they make, and
  generators are told the height of each pixel.
- The authors' code weighs structural similarity a thousand times more below 0.6 than above; here an injector pays for
  what lies below alone, and nothing for the total variation of an image.
"""

from __future__ import annotations

from functools import cache

from ablkit.attacks.attack import FEWEST, Attack, Crafted, OneByOne, Order, Twin
from ablkit.attacks.dfst import detoxification, style
from ablkit.attacks.dfst.settings import Settings


def craft(order: Order, settings: Settings) -> Crafted:
    """Carry each chosen image into the style; the trigger at test time is the same generator alone.

    The CycleGAN depends on the training set, the seed and the style, neither on the target nor on the chosen images;
    the detoxification depends on all of them. Without a chosen image nothing is trained before the trigger is asked
    for. `released` changes nothing: the ABL authors published no DFST of theirs.

    The record has

    - `colour_distance_clean_levels`, `colour_distance_styled_levels`: distance of the mean colour from the style's
      pictures, before and after the generator; `style_change_levels`: mean change of a value by it, and
      `cycle_error_levels`: what of it remains after the way back (all in levels of 255, on 512 images);
    - for each round K: `compromised_neurons_round_K`, found at its start; `excitation_round_K`, how much the injector
      raises their activations in multiples of what the style does; `injected_similarity_round_K`, structural similarity
      of injected images to their originals; `injected_success_rate_round_K` and `..._after_round_K`, the share of them
      taken for the target before and after the retraining;
    - `compromised_neurons_left` after the last round;
    - of the attacker's model before the rounds (`_before`) and after them: `surrogate_accuracy`,
      `surrogate_attack_success_rate`, and `surrogate_colour_success_rate`, the rate at which it takes images for the
      target that have nothing but the mean and the deviation of the styled image's colours;
    - `cyclegan_seconds` and `detoxification_seconds`.

    A round that finds no compromised neuron, or no image left to change, trains nothing and adds no decoys. Raises
    UserError for fewer than 20 training images, and for a folder of styles that cannot be used.
    """
    if not len(order.chosen):
        trigger = style.Styled(cache(lambda: style.learn(order, settings)[0]))
        return Crafted(order.images, OneByOne(trigger, order.aims, lookalike=style.colour_alone))
    generator, record, example = style.learn(order, settings)
    trigger = style.Styled(lambda: generator)
    clean, styled = order.images, trigger(order.images)
    decoys, decoy_images, measured = detoxification.detoxify(order, settings, trigger, styled)
    pictures = {"an image": clean[0], "in its style": styled[0], "a picture of the style": example}
    if len(decoys):
        pictures |= {"another image": order.train.images[decoys[0]], "the same as a decoy": decoy_images[0]}
    triggered = OneByOne(trigger, order.aims, lookalike=style.colour_alone)
    return Crafted(styled, triggered, record | measured, pictures, decoys, decoy_images)


ATTACK = Attack(
    "DFST",
    "dirty label",
    "the style of the whole image",
    "Cheng et al. 2021, arXiv 2012.11212",
    craft,
    Settings,
    twin=Twin("detoxification", "rounds=0"),
    fewest=FEWEST,
)
