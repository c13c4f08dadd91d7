"""CUDA graphs without a GPU: operators are recorded instead of what they launch, and called again for a replay.

As of a true capture, nothing is computed while it is recorded, and numbers that are not tensors stay what they were.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.tape: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def replay(self) -> None:
        with torch.no_grad():
            for operator, args, kwargs, results in self.tape:
                for result, again in zip(results, tensors(operator(*args, **kwargs)), strict=True):
                    if result.data_ptr() != again.data_ptr():
                        result.copy_(again)


class Recording(TorchDispatchMode):
    """Writes operators on a graph's tape; afterwards all tensors that they were given are what they were."""

    def __init__(self, graph: Graph, before: dict[int, tuple[Any, Any]]):
        super().__init__()
        self.graph, self.before = graph, before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tensors(args):
            storage = tensor.untyped_storage()
            self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        found = func(*args, **(kwargs or {}))
        if func.namespace == "aten":
            self.graph.tape.append((func, args, kwargs or {}, tensors(found)))
        return found


@contextlib.contextmanager
def recorded(graph: Graph, **_: Any):
    """Stands for torch.cuda.graph."""
    before: dict[int, tuple[Any, Any]] = {}
    with Recording(graph, before):
        yield
    for storage, value in before.values():
        storage.copy_(value)


def pretend(monkeypatch: Any) -> list[Graph]:
    """Have PyTorch capture what runs on the CPU; return a list to which each graph is added."""
    made: list[Graph] = []

    def new() -> Graph:
        made.append(Graph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
    monkeypatch.setattr(torch.cuda, "graph", recorded)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda.graphs, "graph_pool_handle", lambda: None)
    return made
