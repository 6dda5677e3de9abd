"""Other ways to use the isolated examples than ABL's gradient ascent, and the ascent itself.

The paper compares them on BadNets, CIFAR-10, in one table whose details could not be read: each docstring says what
this kit does, and "our reading" marks what is its own decision. Apart from `retrain` and `pretrained`, all start from
the model that they are given (ABL's own ascent starts from the fine-tuned one). Apart from `retrain`, all train as the
recipe's unlearning stage does, so that only the way differs: `unlearn_epochs`, `unlearn_learning_rate`,
`unlearn_batchnorm`, no augmentation, cross entropy.

Even training on the isolated examples as they are weakens a backdoor (so on the toy set of the tests) while
`unlearn_batchnorm` is `train`: batches of nothing but poisoned images with one label move the running statistics. So
compare a way with that, not with the undefended model alone: `pixel_noise` with `deviation` 0 is it.
"""
