"""From the bytes of any image file to the pixels that a model takes.

The only place of the service that decodes images. Knows neither models nor HTTP.
"""
