"""Folding batch norm into the layer before it: plan, check with a reason, rewrite, prove.

algebra.py        the equations, once, in float64
torch_modules.py  finds the pairs in a torch network, checks them and rewrites
proof.py          shows that nothing changed
"""
