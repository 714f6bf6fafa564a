"""What a study concludes from its numbers: intervals, contrasts, shares, crossings, verdicts.

Numbers in, frozen dataclasses out: nothing here knows recipes, runs or files. Import its modules by
name; statsmodels loads slowly, so only the functions that need it import it.
"""
