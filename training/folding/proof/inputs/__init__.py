"""What is tried: seeded inputs of several kinds, in sizes that the model takes.

sizes.py        what a model takes, and numbers for its free axes
seeded.py       the inputs, a user's own among them
adversarial.py  images on which a wrong fold shows
"""
