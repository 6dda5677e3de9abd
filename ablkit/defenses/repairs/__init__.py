"""Repairs of a backdoored model with a few clean images: Fine-Pruning, mode connectivity, attention distillation."""
