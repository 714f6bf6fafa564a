"""The web page: `/`, `/docs` and the files that they load.

What the browser gets lies in `web/` as it was written, and uses the public API alone. Nothing here
runs a model; others' code in `web/vendor/` comes by `vendoring`, which nothing else imports.
"""
