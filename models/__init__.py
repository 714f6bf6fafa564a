"""What training and serving share: the artifact (`bundle`, `manifest`) and the definitions.

The artifact needs the standard library and numpy. Only `networks` imports torch; nothing here
imports `service` or `training`.
"""
