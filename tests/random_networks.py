"""Torch networks whose batch norms are far from fresh ones, which would be the identity."""

import warnings

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# Float64 rounding of at most a few hundred products, amplified by scales up to 170.
TOLERANCE = 1e-10


def randomize(network, seed=0):
    """Give every batch norm random statistics; return the network in float64, in inference mode."""
    generator = torch.Generator().manual_seed(seed)
    for norm in network.modules():
        if isinstance(norm, _BatchNorm) and norm.running_var is not None:
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(1e-4, 2, generator=generator)
            if norm.affine:
                nn.init.uniform_(norm.weight, -1.7, 1.7, generator=generator)
                nn.init.normal_(norm.bias, generator=generator)
    return network.double().eval()


def image(*shape, seed=1):
    """Return random numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def largest_error(network, folded, x):
    """Return the largest difference of two networks' outputs, relative to the largest output."""
    expected = network(x)
    return ((folded(x) - expected).abs().max() / expected.abs().max()).item()


def batch_norms(network):
    """Return the batch norms that are left in a network."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def stock_fuse(network):
    """Return what torch's own torch.fx.experimental.optimization.fuse makes of a network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, by its import
        from torch.fx.experimental.optimization import fuse
    return fuse(network)
