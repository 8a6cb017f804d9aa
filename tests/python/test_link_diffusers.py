# SPDX-License-Identifier: Apache-2.0
"""Links around diffusers' own autoencoders and denoisers, small and untrained: the parts are used as a diffusers pipeline uses them."""

import pytest
import torch

import semdiff

pytest.importorskip("diffusers")

import diffusers

from semdiff.link import Downsampler, SemanticLink, Upsampler
from semdiff.link.header import USES
from semdiff.training.ends import train_ends
from semdiff.training.engine import Plan
from semdiff.training.photos import read_recipe
from tests.python.photographs import photograph

KEY = semdiff.Key(4)
SCHEDULER = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
BLOCKS = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}


def seeded(kind, **config):
    torch.manual_seed(1)
    return kind(**config).eval()


@pytest.fixture
def vae():
    halves = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    blocks = BLOCKS | {"block_out_channels": (8, 8, 8)}  # 1/4 of the resolution: a cell of 8 pixels
    return seeded(diffusers.AutoencoderKL, latent_channels=4, scaling_factor=0.5, shift_factor=0.25, **halves, **blocks)


@pytest.fixture
def unet():
    halves = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return seeded(diffusers.UNet2DModel, in_channels=4, out_channels=4, **halves, **BLOCKS)


@pytest.fixture
def conditional():
    halves = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    return seeded(
        diffusers.UNet2DConditionModel, in_channels=4, out_channels=4, cross_attention_dim=6, attention_head_dim=4, **halves, **BLOCKS
    )


def pictures(height, width):
    return torch.cat([photograph(n)[..., :height, :width] for n in ("chelsea", "coffee")])


@pytest.mark.parametrize("size", [(32, 48), (30, 35)])
def test_any_size_over_a_variational_autoencoder(vae, unet, size):
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER)
    x = pictures(*size)
    cells = -(-size[0] // 8) * -(-size[1] // 8)
    assert link.cbrs == pytest.approx({32: 1 / 12, 16: 1 / 24, 8: 1 / 48})
    for realism in (0.0, 1.0):
        sent = link.transmit(x, 5.0, 1 / 24, steps=2, realism=realism, key=KEY)
        assert sent.images.shape == x.shape
        assert sent.ledger.total == cells * 8 + USES


def test_latents_are_scaled_as_the_autoencoder_says(vae, unet):
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER)
    x = pictures(32, 48)
    with torch.no_grad():
        z = link.encode(x)
        torch.testing.assert_close(z, (vae.encode(2 * x - 1).latent_dist.mode() - 0.25) * 0.5)
        expected = (vae.decode(z / 0.5 + 0.25).sample + 1) / 2
    torch.testing.assert_close(link._decode(z, (32, 48)), expected.clamp(0, 1))


def test_a_tiny_autoencoder_too(unet):
    tiny = seeded(
        diffusers.AutoencoderTiny,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    link = SemanticLink.from_diffusers(tiny, unet, SCHEDULER)
    x = pictures(16, 24)
    assert link.transmit(x, 5.0, 1 / 48, steps=1, key=KEY).ledger.payload == 4 * 6 * 1 + USES  # cells of 4 pixels, two real symbols each
    with torch.no_grad():
        torch.testing.assert_close(link.encode(x), tiny.encode(2 * x - 1).latents)


def test_a_conditional_denoiser_is_given_the_prompt(vae, conditional, tmp_path):
    embeds = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(3))
    link = SemanticLink.from_diffusers(vae, conditional, SCHEDULER, prompt_embeds=embeds)
    told = []
    conditional.register_forward_pre_hook(lambda _, inputs: told.append(inputs[2]))
    x = pictures(32, 48)
    sent = link.transmit(x, 5.0, steps=2, key=KEY).images
    assert len(told) == 2
    assert all(torch.equal(t, embeds.expand(2, -1, -1)) for t in told)
    link.save_pretrained(tmp_path)
    again = SemanticLink.from_pretrained(tmp_path)
    torch.testing.assert_close(again.transmit(x, 5.0, steps=2, key=KEY).images, sent)


def test_only_the_ends_are_trained(vae, unet):
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER)
    parts = ("vae", "unet", "downsampler", "upsampler")
    before = {name: {n: t.clone() for n, t in getattr(link, name).state_dict().items()} for name in parts}
    images = photograph("coffee")[..., :384, :384].unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
    first = train_ends(link, [images], Plan(1, 12, 1e-3, warm_up=1), progress=False)
    assert link.config.snr_db_range == read_recipe()["snr_db"]
    later = train_ends(link, [images], Plan(60, 12, 2e-3, warm_up=1), progress=False)
    for name in ("vae", "unet"):
        assert all(torch.equal(t, before[name][n]) for n, t in getattr(link, name).state_dict().items())
    for name in ("downsampler", "upsampler"):
        assert not all(torch.equal(t, before[name][n]) for n, t in getattr(link, name).state_dict().items())
    assert later["loss"] < first["loss"]


def test_parts_that_do_not_fit_are_named(vae, unet, conditional):
    other = seeded(diffusers.AutoencoderKL, latent_channels=8, **(BLOCKS | {"block_out_channels": (8,)}))
    with pytest.raises(ValueError, match="unet: expected 8 channels in and out, as the vae's latents have, got 4 and 4"):
        SemanticLink.from_diffusers(other, unet, SCHEDULER)
    with pytest.raises(ValueError, match=r"prompt_embeds: expected a tensor for a conditional unet .* got None for UNet2DConditionModel"):
        SemanticLink.from_diffusers(vae, conditional, SCHEDULER)
    with pytest.raises(ValueError, match=r"prompt_embeds: expected a float tensor \(1, tokens, width\), got torch.float32 \(5, 6\)"):
        SemanticLink.from_diffusers(vae, conditional, SCHEDULER, prompt_embeds=torch.zeros(5, 6))
    with pytest.raises(ValueError, match=r"upsampler: expected 4 latent and 16 symbol channels, got \(4, 8\)"):
        SemanticLink.from_diffusers(vae, unet, SCHEDULER, Downsampler(4, 16), Upsampler(4, 8))
