"""Foldnorm's own API: classify, compare, and look at what is served.

One module for each group of routes, and the shapes of their answers. Routes read the request, ask
`service.registry`, and dress what comes back.
"""

from service.api.v1 import compare, models, operation, predict

ROUTERS = (predict.router, compare.router, models.router, operation.router)

__all__ = ["ROUTERS"]
