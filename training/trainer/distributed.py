"""The processes that train one network together: started by torchrun, one per device.

Every process draws the same batches and augmentations and takes its share of each batch; the
gradients are averaged, weighted by the shares. So a network without batch norm learns what one
process would teach it. Batch norms see their share alone, or, where the device can
(`SyncBatchNorm`, CUDA), the whole batch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import TrainingError, WorkersError


@dataclass(frozen=True)
class Workers:
    """This process' rank among `size`; alone by default."""

    rank: int = 0
    size: int = 1

    @classmethod
    def from_environment(cls) -> Workers:
        """Return what torchrun says in the environment, if it started this process."""
        try:
            return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        except ValueError as exc:
            raise TrainingError(f"RANK and WORLD_SIZE are set by torchrun: {exc}") from exc

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def __enter__(self) -> Workers:
        """Meet the others.

        Raises:
            WorkersError: some of them did not come.
        """
        if self.size > 1:
            try:
                backend = "nccl" if torch.cuda.is_available() else "gloo"
                torch.distributed.init_process_group(backend)
            except RuntimeError as exc:
                raise self._alone(exc) from exc
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Leave the others; where they were lost, say so."""
        if self.size == 1:
            return
        torch.distributed.destroy_process_group()
        by_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
        if by_gloo or isinstance(error, torch.distributed.DistError):
            raise self._alone(error) from error

    def _alone(self, error: BaseException | None) -> WorkersError:
        reason = str(error).partition("\n")[0][:120]
        return WorkersError(
            f"process {self.rank} of {self.size} lost the others ({reason}); what was saved is "
            "kept, and the same torchrun command with --resume goes on from there"
        )

    def wait_for_all(self) -> None:
        """Return once every process has come here."""
        if self.size > 1:
            torch.distributed.barrier()

    def local_device(self, device: torch.device) -> torch.device:
        """Return the process' own CUDA device where one without a number was asked for."""
        if self.size == 1 or device.type != "cuda" or device.index is not None:
            return device
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
        return own

    def replicate(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return what to call in training: the network, its gradients shared with the others."""
        if self.size == 1:
            return network
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            return DistributedDataParallel(network, device_ids=[device.index])
        return DistributedDataParallel(network)

    def share(self, batch: torch.Tensor) -> torch.Tensor:
        """Return this process' share of a batch."""
        return batch.tensor_split(self.size)[self.rank]

    def share_size(self, batch_size: int) -> int:
        """Return how many images of a batch are this process'."""
        return len(range(batch_size)[self.rank :: self.size])  # as `tensor_split` deals them out

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value over all processes."""
        if self.size == 1:
            return value
        summed = value.clone()
        torch.distributed.all_reduce(summed)
        return summed
