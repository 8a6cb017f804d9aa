# SPDX-License-Identifier: Apache-2.0
"""Give a link a denoiser of a user's."""

from __future__ import annotations

from copy import copy
from typing import Any, Self

from semdiff._util.arguments import check_prediction
from semdiff.diffusion.sampler import Denoiser, Prediction, check_denoiser


class OwnDenoiser:
    """Hold a user's denoiser in the place of a link's own, or none."""

    own_denoiser: tuple[Denoiser, Prediction] | None = None

    def with_denoiser(self, denoiser: Denoiser, prediction: Prediction = "eps") -> Self:
        """Return this link with a denoiser of yours in the place of its own. All other networks are shared.

        Args:
            denoiser: denoiser(x, t) -> output, a function or a module; an array of NumPy's is taken too. x are states of the link's
                latents, float (B, C, h, w) on its device (of a `PixelLink`: of its normalised pixels), t are real times (B,) of
                its `schedule`.
            prediction: what the output is: "eps", "x0" or "v".

        Returns:
            The link. It cannot be saved or exported: its denoiser's weights are yours to keep.

        Raises:
            TypeError: where it is not callable so.
            ValueError: for another prediction.

        Example:
            >>> from semdiff.data import sample_images
            >>> from semdiff.link import SemanticLink
            >>> link = SemanticLink.default().with_denoiser(lambda x, t: 0 * x, "x0")  # always the mean latent
            >>> link.transmit(sample_images(), 5.0, key=0).images.shape
            torch.Size([10, 1, 28, 28])
        """
        check_denoiser(denoiser)
        check_prediction(prediction)
        other = copy(self)
        other.own_denoiser = denoiser, prediction
        return other

    def identity(self) -> dict[str, Any]:
        """Return what the link's results depend on besides its weights and its config: a denoiser of `with_denoiser`."""
        return dict(zip(("denoiser", "prediction"), self.own_denoiser or (), strict=False))
