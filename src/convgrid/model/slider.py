"""A trained model at every place of images larger than its own, in one pass.

Shapes: B batch, C channels, H height, W width, K predictions; R rows and Q columns of places.
"""

import torch
from torch import Tensor, nn

from convgrid.errors import ModelError, PlanError
from convgrid.network.plan import Plan
from convgrid.network.sliding import Sliding
from convgrid.objective.predictor import Predictor


class Slider(nn.Module):
    """Raw images of any size in, predictions at each place out: normalisation, sliding network and link.

    Args:
        predictor: For images of one size; its weights are shared.
        plan: Of its network.

    Raises:
        ModelError: If the network cannot slide.
    """

    def __init__(self, predictor: Predictor, plan: Plan) -> None:
        super().__init__()
        try:
            self.network = Sliding(predictor.network, plan).eval()
        except PlanError as error:
            raise ModelError(str(error)) from None
        self.objective = predictor.objective
        self.mean, self.std = (nn.Buffer(each[:, :, :1, :1].contiguous()) for each in (predictor.mean, predictor.std))

    def forward(self, images: Tensor) -> Tensor:
        """Predict from raw images (B, C, H, W), of at least the training's sides, (B, K, R, Q)."""
        scores = self.network((images - self.mean) / self.std)
        batch, units, rows, columns = scores.shape
        vectors = scores.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).view(-1, units)
        return self.objective.predictions(vectors).view(batch, rows, columns, -1).permute(0, 3, 1, 2)
