"""Studies: a question, its design as data, the runs that answer it, and what they say.

`designs` holds the studies that ship; a study becomes a plan of runs, an executor trains what is
missing, rows are gathered from the run folders, and the report is made from the rows alone. How
one run is trained is not decided here but in `training.trainer`.
"""
