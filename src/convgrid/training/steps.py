"""From a minibatch to an optimizer step: augmentation, losses, gradient, clipping, update. Nothing of Lightning."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convgrid.augment import mixed_losses
from convgrid.data import Batch, Chunk
from convgrid.network.build import kernels
from convgrid.objective.predictor import Behind, Predictor
from convgrid.system.seeding import derive
from convgrid.system.torch_internals import bare_step
from convgrid.training.flat import flatten_parameters
from convgrid.training.recipe import Recipe
from convgrid.training.starting import loaded_parameters
from convgrid.training.tape import Tape, crossentropy

GROUP_KEYS = ("kernels", "loaded")  # what tells an optimizer's groups apart
Losses = Callable[[Tensor], Tensor]  # of a batch's scores


class Steps:
    """The optimizer steps of one training.

    Args:
        predictor: What is trained, in place; it stays on its device from now on.

    Attributes:
        optimizer: What a checkpoint keeps, with the learning rate that the schedule's factor applies to in each group.
        flat: What the optimizer steps on, where that is not the parameters themselves.
        tape: Writes the gradients of a plain network; None where autograd does.
    """

    def __init__(self, predictor: Predictor | Behind, recipe: Recipe, device: torch.device) -> None:
        self._predictor, self._recipe, self._device = predictor, recipe, device
        self._kernels = [kernel for kernel in kernels(predictor.network) if kernel.requires_grad]
        self._drawing = [module for module in predictor.modules() if hasattr(module, "generator")]
        self.flat: list[nn.Parameter] = []
        self.optimizer = self._made_optimizer()
        self.tape = self._recorded()
        self._is_crossentropy = recipe.augment is None and predictor.objective.is_crossentropy

    def begin_epoch(self, epoch: int) -> None:
        """Key the draws of dropout and augmentation by the epoch alone, so that a resumed run repeats them.

        Args:
            epoch: Counted from 0.
        """
        self._resting = epoch < self._recipe.freeze_epochs
        draws = self._generator("dropout", epoch)
        for module in self._drawing:
            setattr(module, "generator", draws)  # noqa: B010  (the user's own module may declare it, too)
        self._augment_draws = self._generator("augment", epoch)

    def take(self, chunk: Chunk, factors: Sequence[float], scaler: torch.amp.GradScaler) -> Tensor:
        """Take a step for each minibatch of a chunk.

        Args:
            factors: On the learning rate, one a step.
            scaler: Of 16-mixed; otherwise one that does nothing.

        Returns:
            The sum of all examples' losses, a number on the device: reading it here would make a GPU wait.
        """
        update, losses = self._update(scaler), []
        for factor, batch in zip(factors, chunk, strict=True):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0 if self._resting and group.get("loaded") else group["initial_lr"] * factor
            losses += self._by_autograd(batch, scaler) if self.tape is None else [self._on_tape(batch, self.tape)]
            if self._recipe.gradient_clip_norm:
                scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self._predictor.parameters(), self._recipe.gradient_clip_norm)
            update()
            scaler.update()
            torch.clear_autocast_cache()  # it would keep this step's weights for the chunk's next steps
        return torch.cat(losses).sum()

    def clear_gradients(self) -> None:
        """In place where they are views of one: `None` in their stead would cut them off from what is stepped on."""
        for whole in self.flat:
            assert whole.grad is not None
            whole.grad.zero_()
        if not self.flat:
            self._predictor.zero_grad()

    def _made_optimizer(self) -> torch.optim.Optimizer:
        """Make groups that stay what they are; each becomes one tensor where it may."""
        optimizer = self._recipe.make_optimizer(self._groups())
        if self._recipe.is_flat:  # group by group as the optimizer has them, which is one where nothing decays
            self.flat = [flatten_parameters(group["params"]) for group in optimizer.param_groups]
            kinds = [{key: group[key] for key in GROUP_KEYS if key in group} for group in optimizer.param_groups]
            groups = [{"params": [whole], **kind} for whole, kind in zip(self.flat, kinds, strict=True)]
            optimizer = self._recipe.make_optimizer(groups)
        for group in optimizer.param_groups:
            factor = self._recipe.loaded_lr if group.get("loaded") else 1.0
            group["initial_lr"] = group["lr"] * factor
        return optimizer

    def _groups(self) -> list[dict[str, Any]]:
        """Tell kernels, which may decay, from all others, and what has loaded weights where it learns otherwise."""
        recipe, decaying = self._recipe, {id(kernel) for kernel in self._kernels}
        trained = [weight for weight in self._predictor.parameters() if weight.requires_grad]
        others = [weight for weight in trained if id(weight) not in decaying]
        groups: list[dict[str, Any]] = [
            {"params": self._kernels, "kernels": True},
            {"params": others, "kernels": False},
        ]
        if recipe.loaded and (recipe.loaded_lr != 1 or recipe.freeze_epochs):
            loaded = loaded_parameters(self._predictor.network, recipe.loaded)
            groups = [
                {"params": [w for w in group["params"] if (id(w) in loaded) == is_loaded], "kernels": group["kernels"],
                 "loaded": is_loaded}
                for is_loaded in (False, True) for group in groups
            ]  # fmt: skip
        return [group for group in groups if group["params"]]

    def _recorded(self) -> Tape | None:
        """The network's tape; None where autograd does more than it can, or is not slower."""
        recipe = self._recipe
        others = recipe.l1 or recipe.l2 or recipe.accumulate > 1 or recipe.detect_anomaly
        others = others or any(True for _ in self._predictor.objective.parameters())  # a target of the user's own
        if not recipe.is_flat or others or recipe.precision != "32-true" or self._device.type != "cpu":
            return None
        return Tape.record(self._predictor.network)

    def _update(self, scaler: torch.amp.GradScaler) -> Callable[[], object]:
        """The optimizer's step, bare of Lightning's wrappers, which cost 0.1 ms, and of torch's where nothing hooks in.

        Found anew for each chunk: that of a fused Adam is its kernel alone only once its state exists.
        """
        if self._recipe.is_flat and not scaler.is_enabled():
            return bare_step(self.optimizer)
        return partial(scaler.step, self.optimizer)

    def _by_autograd(self, batch: Batch, scaler: torch.amp.GradScaler) -> list[Tensor]:
        """Add the gradient of a batch's mean loss, part by part where the whole does not fit into memory."""
        parts, size, seen = self._recipe.accumulate, len(batch.images), []
        self.clear_gradients()
        for part in (batch,) if parts == 1 else batch.split(math.ceil(size / parts)):
            images, losses_of = self._augmented(part)
            losses = losses_of(self._predictor.network(images))
            if self._recipe.l1 or self._recipe.l2:
                losses = losses + self._penalty()
            scaler.scale(losses).backward(torch.full_like(losses, 1 / size))  # a mean, there and back, costs 25 us
            seen.append(losses.detach())
        return seen

    def _on_tape(self, batch: Batch, tape: Tape) -> Tensor:
        """Write the gradient of a batch's mean loss without autograd, but for that of most losses."""
        images, losses_of = self._augmented(batch)
        scores = tape.forward(images)
        size = len(images)
        if self._is_crossentropy and batch.weights is None:
            losses, gradient = crossentropy(scores, batch.targets, scores.new_full((size,), 1 / size))
        else:
            losses = losses_of(scores.requires_grad_().clone())  # the user's own may change them in place
            (gradient,) = torch.autograd.grad(losses, scores, torch.full_like(losses, 1 / size))
        tape.backward(gradient)  # overwrites what the step before left, so that nothing is to be cleared
        return losses.detach()

    def _augmented(self, batch: Batch) -> tuple[Tensor, Losses]:
        """A batch's normalised images, and what makes losses of their scores."""
        predictor, augment = self._predictor, self._recipe.augment
        images, targets, weights = batch
        if augment is None:  # the images come normalised
            return images, lambda scores: predictor.objective.losses(scores, targets, weights)
        images, mixed = augment(images, targets, self._augment_draws)
        assert mixed is not None
        return predictor.normalised(images), lambda scores: mixed_losses(
            partial(predictor.objective.losses, scores), mixed, weights
        )

    def _penalty(self) -> Tensor | float:
        """Keras' kernel regularisers: l1 sum |w| + l2 sum w^2."""
        l1, l2 = self._recipe.l1, self._recipe.l2
        penalty = l1 * sum(kernel.abs().sum() for kernel in self._kernels) if l1 else 0.0
        return penalty + l2 * sum(kernel.square().sum() for kernel in self._kernels) if l2 else penalty

    def _generator(self, purpose: str, epoch: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(derive(self._recipe.seed, purpose, epoch))
