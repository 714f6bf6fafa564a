"""One call of `foldnorm train`: runs placed, trained one after the other, saved and stopped.

What a person sees of them, and signals and full disks, are met here; the loop knows none of these.
"""
