"""A run: its state between two steps, what it draws, and how it is kept on disk.

Nothing here takes a step: `loop` moves a run on, `session` conducts it.
"""
