"""From the bytes of any image file to the pixels that a model takes.

The only place of the service that decodes images. Knows no served model (only its `ImageSpec`) and
no HTTP.
"""
