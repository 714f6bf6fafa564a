"""The routes, one module for each group; they translate between HTTP and the stages."""

from service.routes import compare, health, metrics, models, operation, predict

ROUTERS = (
    predict.router,
    compare.router,
    models.router,
    operation.router,
    health.router,
    metrics.router,
)

__all__ = ["ROUTERS"]
