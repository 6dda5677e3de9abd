"""TEMPORARY: replaced by the branch notebooks."""

COLOURS = {
    "clean_accuracy": "#1b6ca8",
    "target_class_accuracy": "#1b6ca8",
    "attack_success_rate": "#d55e00",
    "isolation_precision": "#7a4fa3",
    "clean_loss": "#1b6ca8",
    "poisoned_loss": "#d55e00",
}
DASHES = {
    "clean_loss": "-",
    "poisoned_loss": "--",
    "clean_accuracy": "-",
    "attack_success_rate": "--",
    "target_class_accuracy": ":",
    "isolation_precision": "-.",
}
MARKERS = {}
