"""Anti-Backdoor Learning (NeurIPS 2021), re-run: train clean models on poisoned data, and prove it."""

__version__ = "0.1.0"
