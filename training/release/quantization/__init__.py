"""The int8 graph beside the float32 one: how it is made, what it changes, whether it holds.

Works on released graphs; the folding engine is not involved any more.
"""
