"""CUDA graphs of a training step: a GPU replays what the host would otherwise launch kernel by kernel.

Batches have one shape, so what a step launches is captured once. The loss with its gradients is one graph, a step of
Muon another, the running average of the weights a third, and Lightning's loop stays as it is. A CPU runs the same
functions without graphs. No GPU has run this file yet.
"""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from vaebss.errors import first_line

WARM_CALLS = 3  # before a capture, in which libraries take the memory that they keep


def at_once(function: Callable[..., None], *inputs: Tensor) -> None:
    """Run a function of tensors; what a Replay does without graphs."""
    function(*inputs)


class Replay:
    """A caller of one function that changes tensors in place: it runs the function a few times, then replays its graph.

    What the function reads has to be in its inputs or in tensors that stay where they are: numbers would stay what they
    were at the capture. Where inputs are not of the shapes that were captured, the function is run.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.graph: Any = None
        self.inputs: list[Tensor] = []

    def __call__(self, function: Callable[..., None], *inputs: Tensor) -> None:
        """Run or replay the function of inputs on the GPU."""
        self.calls += 1
        if self.calls == WARM_CALLS + 1:
            self._capture(function, inputs)
        if self.graph is None or [given.shape for given in inputs] != [own.shape for own in self.inputs]:
            function(*inputs)
            return
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()

    def _capture(self, function: Callable[..., None], inputs: tuple[Tensor, ...]) -> None:
        """Record what the function launches; nothing is computed."""
        graph, self.inputs = torch.cuda.CUDAGraph(), [given.clone() for given in inputs]
        try:
            with torch.cuda.graph(graph):
                function(*self.inputs)
        except RuntimeError as error:
            tell(error)
        else:
            self.graph = graph


class Cost(nn.Module):
    """The cost of a System as a module of its own, as PyTorch captures modules."""

    def __init__(self, system: Any):
        super().__init__()
        self.system = system

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the loss and what is logged beside it, see `System.cost`."""
        return self.system.cost(*inputs)


class Capture(Callback):
    """A callback that has the training steps of a System replayed from CUDA graphs.

    It does so on one GPU where each batch is a step, and does nothing elsewhere. If a capture fails, one line says so,
    and steps run without graphs.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        system: Any = pl_module
        if "launch" in vars(system) or not (hasattr(system, "cost") and captures(trainer)):
            return
        system.launch = Replay()
        for optimizer in trainer.optimizers:
            optimizer.launch = Replay()  # type: ignore[attr-defined]  # which Muon calls
        try:
            with trainer.precision_plugin.forward_context():
                system.compute = graphed(system, system.inputs(batch))
        except RuntimeError as error:
            tell(error)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name in ("launch", "compute"):
            vars(pl_module).pop(name, None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


def captures(trainer: Trainer) -> bool:
    """Return whether steps of training can be captured: each launches the same on one GPU."""
    alone = trainer.world_size == 1 and trainer.accumulate_grad_batches == 1
    return alone and trainer.strategy.root_device.type == "cuda"


def graphed(system: Any, inputs: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]]:
    """Return a System's cost, whose forward and backward passes are replayed from CUDA graphs.

    Inputs of other shapes than those captured are computed without graphs. The steps that warm up the capture change
    running statistics of batches, which are restored.

    Args:
        system: System on a GPU.
        inputs: Inputs of its `cost`, as `System.inputs` returns them.

    Returns:
        Function with the arguments and the result of `system.cost`.
    """
    before = [(buffer, buffer.clone()) for buffer in system.buffers()]
    own = tuple(given.clone() for given in inputs)
    try:
        module: Any = torch.cuda.make_graphed_callables(Cost(system), own, allow_unused_input=True)
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)

    def cost(*given: Tensor) -> tuple[Tensor, ...]:  # it keeps the module, to which PyTorch's own reference is weak
        same = all(one.shape == other.shape for one, other in zip(given, own, strict=True))
        return module(*given) if same else system.cost(*given)

    return cost


def tell(error: RuntimeError) -> None:
    """Say in one line that something is not captured."""
    print(f"Training steps are not captured in a CUDA graph and run slower: {first_line(error)}", flush=True)
