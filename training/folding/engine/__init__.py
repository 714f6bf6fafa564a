"""Plan, check with a reason, rewrite: folding on a neutral graph that both front ends build.

graph.py          what the rules see of a network
rule.py, rules/   one rule per pattern; a new pattern is one module in `rules`
sum_tree.py       branches that sums join, for the parallel layers
spelled_out.py    batch norms that constants spell out, for the report
planner.py        asks the rules until nothing more can go
report_row.py, report_builder.py   what became of every batch norm

Neither ONNX nor torch may be imported here.
"""
