"""Foldnorm's own API: classify, compare, and look at what is served.

One module for each group of routes, which joins `ROUTERS`, and the shapes of their answers. Routes
read the request, ask `service.registry`, and dress what comes back. No model is run here, and no
error gets its status.
"""

from service.api.v1 import compare, models, operation, predict

ROUTERS = (predict.router, compare.router, models.router, operation.router)

__all__ = ["ROUTERS"]
