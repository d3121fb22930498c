"""A pass, its objective and its gradient as one compiled graph, for batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from vaekit.errors import ConfigError
from vaekit.training.batches import seeded

if TYPE_CHECKING:
    from vaekit.training.step import Drawn, Step

__all__ = ["Compiled", "machine_code"]

# What tracers and compilers raise when they meet something that they cannot do.
_REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, OSError)


class Compiled:
    """What `Step.gradient` does for its model, in one graph: means of terms, and the gradient of their sum.

    The step is traced once, backward included, with everything that changes between steps as an input: parameters,
    buffers, rows, noise, and the weights that schedules drive. So the graph holds for all steps of a stage on as many
    rows.

    Args:
        step: The step.
        like: Rows and noise of the size that the graph is for.

    Raises:
        ConfigError: If what the step computes depends on the values that it meets, so that no one graph holds for all
            of them, or if there is no working compiler here.
    """

    def __init__(self, step: Step, like: Drawn) -> None:
        self.step, self.rows = step, len(like)
        self.whole = nn.ModuleDict({"vae": step.vae, "objective": step.stage.objective})
        self.tensors = dict(self.whole.named_parameters()) | dict(self.whole.named_buffers())
        mine = {id(p) for p in step.phases["model"].parameters}
        self.trained = [name for name, value in self.tensors.items() if id(value) in mine]
        self.state = [value.detach() for value in self.tensors.values()]  # the same memory, whatever optimisers do
        self.scheduled, self.like, self.terms = tuple(step.stage.schedules), like, tuple[str, ...]()
        try:
            graph = make_fx(self._whole)(*(value.clone() for value in self._inputs(like)))
            self.random = any(_draws(node.target) for node in graph.graph.nodes)
            self.run = machine_code(graph, step.device)
            kept = [value.clone() for value in self.state]
            self(like)  # this is when it is compiled
            for value, before in zip(self.state, kept, strict=True):  # and running values have seen these rows
                value.copy_(before)
        except _REFUSALS as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"the training step cannot be compiled here ({said}); leave compile at 'auto'") from error

    @torch.no_grad()
    def __call__(self, drawn: Drawn) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Means of the terms, tensors of one value each, and the gradient of their sum by `Phase.parameters`."""
        if self.step.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        if self.random:
            with seeded(drawn.seed, self.step.device):
                means, *gradient = self.run(*self._inputs(drawn))
        else:
            means, *gradient = self.run(*self._inputs(drawn))
        return dict(zip(self.terms, means.unbind(), strict=True)), gradient

    def _inputs(self, drawn: Drawn) -> list[Tensor]:
        weights = [torch.tensor(self.step.weight(name), device=self.step.device) for name in self.scheduled]
        return [*self.state, *weights, *drawn.tensors()]

    def _whole(self, *inputs: Tensor) -> list[Tensor]:
        """The step as a function of tensors alone."""
        state, weights = inputs[: len(self.state)], inputs[len(self.state) :][: len(self.scheduled)]
        drawn = self.like.filled(inputs[len(self.state) + len(self.scheduled) :])
        held = dict(zip(self.tensors, state, strict=True))
        held |= {name: held[name].detach().requires_grad_() for name in self.trained}
        order = {id(self.tensors[name]): name for name in self.trained}
        with torch.enable_grad(), self._driven(weights):
            terms = torch.func.functional_call(_Terms(self.whole, self.step), _under("whole", held), (drawn,))
            means = torch.stack(list(terms.values())).mean(1)
            asked = [held[order[id(p)]] for p in self.step.phases["model"].parameters]
            gradient = torch.autograd.grad(means.sum(), asked, materialize_grads=True)
        self.terms = tuple(terms)
        return [means.detach(), *gradient]

    @contextmanager
    def _driven(self, weights: tuple[Tensor, ...]) -> Iterator[None]:
        """Put tensors in the place of scheduled weights for a while."""
        before = {name: self.step.weight(name) for name in self.scheduled}
        try:
            for name, value in zip(self.scheduled, weights, strict=True):
                self.step.stage.drive(self.step.vae, name, value)
            yield
        finally:
            for name, number in before.items():
                self.step.stage.drive(self.step.vae, name, number)


def machine_code(graph: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """A graph of tensor operations as compiled code, replayed as one on a GPU."""
    options: dict[str, Any] | None = {"triton.cudagraphs": True} if device.type == "cuda" else None
    return torch.compile(graph, dynamic=False, fullgraph=True, options=options)


class _Terms(nn.Module):
    """The terms of an objective, as a module, so that its tensors can be exchanged for a while."""

    def __init__(self, whole: nn.ModuleDict, step: Step) -> None:
        super().__init__()
        self.whole, self._step = whole, step

    def forward(self, drawn: Drawn) -> dict[str, Tensor]:
        return self._step.stage.objective(self._step.look(drawn))


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in tensors.items()}


def _draws(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags
