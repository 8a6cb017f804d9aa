# SPDX-License-Identifier: Apache-2.0
"""Train a learned code with a discriminator of patches beside squared error and LPIPS: it aims at realism without diffusion.

The discriminator is PatchGAN's (Isola et al., CVPR 2017), the losses are hinges (Lim and Ye, arXiv 1705.02894).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from semdiff.baselines.jscc import DeepJSCC
from semdiff.metrics import lpips
from semdiff.rng import Key
from semdiff.training.random_channel import Conditions
from semdiff.training.stages.jscc import AWGN_ALONE, LPIPS_WEIGHT, JSCCStage

WEIGHT = 0.002  # of the discriminator's word, around 1, beside a squared error around 0.01; chosen by hand


class PatchDiscriminator(nn.Module):
    """Judge patches: forward(images (B, C, H, W) in [0, 1]) -> (B, 1, H/4, W/4), above 0 for real ones.

    Args:
        colours: C.
        width: channels of the first layer.
    """

    def __init__(self, colours: int, width: int = 48) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            norm(nn.Conv2d(colours, width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(2 * width, 2 * width, 3, 1, 1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(2 * width, 1, 3, 1, 1)),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Score patches of images (B, C, H, W) in [0, 1]."""
        return self.layers(2 * images - 1)  # type: ignore[no-any-return]


class AdversarialStage(JSCCStage):
    """Teach a learned code by squared error, LPIPS and the word of a discriminator, which learns beside it.

    forward(key, images (B, C, H, W) in [0, 1]). One optimiser serves both: the discriminator's loss sees the received images without a
    gradient, and the code's loss the discriminator's weights without one.

    Args:
        model: the code, trained on squared error and LPIPS.
        conditions: the channels that it meets.
        weight: of the discriminator's word in the code's loss.
    """

    def __init__(self, model: DeepJSCC, conditions: Conditions = AWGN_ALONE, weight: float = WEIGHT) -> None:
        super().__init__(model, conditions)
        self.discriminator, self.weight = PatchDiscriminator(model.image_shape[0]), weight

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        out = self.send(key, images).clamp(0, 1)
        error, perceptual = F.mse_loss(out, images), lpips(out, images).mean()
        discriminator = self.discriminator
        learnt = F.relu(1 - discriminator(images)).mean() + F.relu(1 + discriminator(out.detach())).mean()
        still = {name: tensor.detach() for name, tensor in (*discriminator.named_parameters(), *discriminator.named_buffers())}
        fooled = -functional_call(discriminator, still, (out,)).mean()
        loss = error + LPIPS_WEIGHT * perceptual + self.weight * fooled + learnt
        return {"loss": loss, "mse": error, "lpips": perceptual, "fooled": fooled, "discriminator": learnt}
