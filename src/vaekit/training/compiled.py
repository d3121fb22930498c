"""A pass, its objective and its gradient as one compiled graph, for batches of one size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from vaekit.errors import ConfigError
from vaekit.training.adam import adam_of
from vaekit.training.batches import seeded

if TYPE_CHECKING:
    from vaekit.training.step import Drawn, Step

__all__ = ["Compiled", "machine_code"]

# What tracers and compilers raise when they meet something that they cannot do.
_REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, OSError)


class Compiled:
    """A step of the model in one graph: the gradient of `Step.gradient`, and what `Step` does with it where it can.

    The step is traced once, backward included, with everything that changes between steps as an input: parameters,
    buffers, rows, noise, and the weights that schedules drive. So the graph holds for all steps of a stage on as many
    rows. For a whole batch on a processor, and Adam, it also holds what follows: the look at whether all is finite,
    clipping, and the optimiser.

    Args:
        step: The step.
        like: Rows and noise of the size that the graph is for.
        whole: Whether these are a whole batch.

    Raises:
        ConfigError: If what the step computes depends on the values that it meets, so that no one graph holds for all
            of them, if the objective has a critic, or if there is no working compiler here.
    """

    def __init__(self, step: Step, like: Drawn, whole: bool) -> None:
        if "critic" in step.phases:
            raise ConfigError(
                "objectives with a critic are not compiled: it learns from the pass of the model; use compile=False"
            )
        self.step, self.rows, self.like = step, len(like), like
        self.both = nn.ModuleDict({"vae": step.vae, "objective": step.stage.objective})
        self.tensors = dict(self.both.named_parameters()) | dict(self.both.named_buffers())
        names = {id(value): name for name, value in self.tensors.items()}
        phase = step.phases["model"]
        self.trained = [names[id(p)] for p in phase.parameters]
        self.adam = adam_of(phase.optimizer, phase.parameters) if whole and step.device.type == "cpu" else None
        self.scheduled, self.terms, self.reached = tuple(step.stage.schedules), tuple[str, ...](), list[bool]()
        moved = [step.frozen, *self.adam.tensors] if self.adam else []
        self.state = [*moved, *(value.detach() for value in self.tensors.values())]  # the memory of all, for good
        try:
            graph = make_fx(self._traced)(*(value.clone() for value in self._inputs(like)))
            self.random = any(_draws(node.target) for node in graph.graph.nodes)
            self.run = machine_code(graph, self._inputs(like))
            kept = [value.clone() for value in self.state]
            self._run(like)  # what can fail does so now
            for value, before in zip(self.state, kept, strict=True):
                value.copy_(before)
        except _REFUSALS as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"the training step cannot be compiled here ({said}); leave compile at 'auto'") from error

    def gradient(self, drawn: Drawn) -> tuple[tuple[str, ...], Tensor, list[Tensor | None]]:
        """Names and means of the terms, and the gradient of their sum by `Phase.parameters`."""
        means, *found = self._run(drawn)
        gradient = iter(found)
        return self.terms, means, [next(gradient) if reached else None for reached in self.reached]

    def descend(self, drawn: Drawn) -> tuple[tuple[str, ...], Tensor]:
        """A step with all that belongs to it; names and values of its figures, as of `Step.descend`."""
        return ("loss", "gradient_norm", *self.terms), self._run(drawn)[0]

    @torch.no_grad()
    def _run(self, drawn: Drawn) -> list[Tensor]:
        if self.step.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        if not self.random:
            return list(self.run(*self._inputs(drawn)))
        with seeded(drawn.seed, self.step.device):
            return list(self.run(*self._inputs(drawn)))

    def _inputs(self, drawn: Drawn) -> list[Tensor]:
        numbers = [self.adam.group["lr"], *self.adam.numbers()] if self.adam else []
        told = torch.tensor([*map(self.step.weight, self.scheduled), *numbers], device=self.step.device)
        # the graph reads memory as it lay when it was traced: in one piece, or one row for all
        rows = [
            value if value.is_contiguous() or not value.stride(0) else value.contiguous() for value in drawn.tensors()
        ]
        return [told, *self.state, *rows]

    def _traced(self, told: Tensor, *inputs: Tensor) -> list[Tensor]:
        """The step as a function of tensors alone."""
        state, drawn = inputs[: len(self.state)], self.like.filled(inputs[len(self.state) :])
        moved, held = state[: -len(self.tensors)], dict(zip(self.tensors, state[-len(self.tensors) :], strict=True))
        told, numbers = told[: len(self.scheduled)], told[len(self.scheduled) :]
        means, gradient = self._sloped(held, list(told.unbind()), drawn)
        if not self.adam:
            return [means, *(slope for slope in gradient if slope is not None)]
        loss = means.sum()
        norm = torch.sqrt(torch.stack([slope.square().sum() for slope in gradient if slope is not None]).sum())
        frozen = torch.maximum(moved[0], 1.0 - torch.isfinite(loss + norm).to(moved[0].dtype))
        moved[0].copy_(frozen)
        scale = (1.0 - frozen) / torch.clamp(norm / (self.step.config.clip or math.inf), min=1.0)
        scale = torch.stack([scale, torch.ones_like(scale)]).amin()
        self.adam.move([held[name] for name in self.trained], moved[1:], gradient, numbers[1:], numbers[0], scale)
        return [torch.cat([torch.stack([loss, norm]), means])]

    def _sloped(
        self, held: dict[str, Tensor], weights: list[Tensor], drawn: Drawn
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Means of the terms, and the gradient of their sum by each trained parameter; None where there is none."""
        asked = {name: held[name].detach().requires_grad_() for name in self.trained}
        with torch.enable_grad(), self._driven(weights):
            terms = torch.func.functional_call(_Terms(self.both, self.step), _under("both", held | asked), (drawn,))
            means = torch.stack(list(terms.values())).mean(1)
            gradient = torch.autograd.grad(means.sum(), list(asked.values()), allow_unused=True)
        self.terms, self.reached = tuple(terms), [slope is not None for slope in gradient]
        return means.detach(), list(gradient)

    @contextmanager
    def _driven(self, weights: list[Tensor]) -> Iterator[None]:
        """Put tensors in the place of scheduled weights for a while."""
        before = {name: self.step.weight(name) for name in self.scheduled}
        try:
            for name, value in zip(self.scheduled, weights, strict=True):
                self.step.stage.drive(self.step.vae, name, value)
            yield
        finally:
            for name, number in before.items():
                self.step.stage.drive(self.step.vae, name, number)


def machine_code(graph: GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
    """A graph of tensor operations as compiled code for inputs like these, replayed as one on a GPU."""
    if inputs[0].device.type == "cuda":
        return torch.compile(graph, dynamic=False, fullgraph=True, options={"triton.cudagraphs": True})
    for node in graph.graph.nodes:
        node.meta.clear()  # what the tracer noted, which the compiler finds itself
    found: Callable[..., Any] = torch._inductor.compile(
        graph, list(inputs), options={"size_asserts": False, "unroll_reductions_threshold": 1, "cpp_wrapper": True}
    )
    return found


class _Terms(nn.Module):
    """The terms of an objective, as a module, so that its tensors can be exchanged for a while."""

    def __init__(self, both: nn.ModuleDict, step: Step) -> None:
        super().__init__()
        self.both, self._step = both, step

    def forward(self, drawn: Drawn) -> dict[str, Tensor]:
        return self._step.stage.objective(self._step.look(drawn))


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in tensors.items()}


def _draws(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags
