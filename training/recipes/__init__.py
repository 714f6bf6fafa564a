"""The experiments as data: TOML files, and the frozen dataclasses that read them.

A new option of a recipe begins here. Nothing here trains, and nothing imports torch.
"""
