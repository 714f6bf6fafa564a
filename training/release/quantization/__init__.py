"""The int8 graph of an artifact: how it is made, what it changes, whether it holds.

Works on released graphs: the folding engine may not be called here.
"""
