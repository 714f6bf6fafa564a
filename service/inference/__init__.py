"""A network that answers: session, batches, threads, and the checks before it may serve.

Pixels in, scores out. No file formats of images, no HTTP, no catalogue of models.
"""
