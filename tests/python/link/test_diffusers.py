# SPDX-License-Identifier: Apache-2.0
"""Links around diffusers' own autoencoders and denoisers, small and untrained: the parts are used as a diffusers pipeline uses them."""

import pytest
import torch

import semdiff

pytest.importorskip("diffusers")

import diffusers

from semdiff.link import Downsampler, SemanticLink, Upsampler
from semdiff.training.engine import Plan
from semdiff.training.recipes.ends import train_ends
from semdiff.training.recipes.photos import read_recipe
from semdiff.transmission.header import HEADER_USES
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
        sent = link.transmit(x, 5.0, cbr=1 / 24, steps=2, realism=realism, key=KEY)
        assert sent.images.shape == x.shape
        assert sent.ledger.total == cells * 8 + HEADER_USES


def test_latents_are_scaled_as_the_autoencoder_says(vae, unet):
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER)
    x = pictures(32, 48)
    with torch.no_grad():
        z = link.encode(x)
        torch.testing.assert_close(z, (vae.encode(2 * x - 1).latent_dist.mode() - 0.25) * 0.5)
        expected = (vae.decode(z / 0.5 + 0.25).sample + 1) / 2
    torch.testing.assert_close(link.decode(z, (32, 48)), expected.clamp(0, 1))


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
    ledger = link.transmit(x, 5.0, cbr=1 / 48, steps=1, key=KEY).ledger
    assert ledger.payload == 4 * 6 * 1 + HEADER_USES  # cells of 4 pixels, two real symbols each
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


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(48, 48), (30, 35)])
def test_pictures_are_padded_to_what_the_denoiser_halves(vae, levels, size):
    deep = {"down_block_types": ("DownBlock2D",) * levels, "up_block_types": ("UpBlock2D",) * levels}
    unet = seeded(diffusers.UNet2DModel, in_channels=4, out_channels=4, **deep, **(BLOCKS | {"block_out_channels": (8,) * levels}))
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER)
    x = pictures(*size)
    sent = link.transmit(x, 5.0, cbr=1 / 24, steps=1, realism=0.5, key=KEY)
    assert sent.images.shape == x.shape
    multiple = 8 * 2 ** max(levels - 2, 0)  # pixels; a latent stands for 4, and a cell has two
    cells = [-(-n // multiple) * multiple // 8 for n in size]
    assert sent.ledger.total == cells[0] * cells[1] * 8 + HEADER_USES
    assert link.encode(x).shape[2:] == (2 * cells[0], 2 * cells[1])
    with torch.no_grad():
        torch.testing.assert_close(link.decode(link.encode(x), size).shape, x.shape)


def test_a_conditional_denoiser_of_any_depth(vae):
    halves = {"down_block_types": ("CrossAttnDownBlock2D",) * 4, "up_block_types": ("CrossAttnUpBlock2D",) * 4}
    config = BLOCKS | halves | {"block_out_channels": (8,) * 4, "cross_attention_dim": 6, "attention_head_dim": 4}
    unet = seeded(diffusers.UNet2DConditionModel, in_channels=4, out_channels=4, **config)
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER, prompt_embeds=torch.zeros(1, 5, 6))
    x = pictures(40, 24)
    assert link.transmit(x, 5.0, steps=1, key=KEY).images.shape == x.shape


TWO = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "in_channels": 4, "out_channels": 4}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_class_embeds": 10}, "unet: num_class_embeds: expected None, which is what a link can honour, got 10"),
        ({"class_embed_type": "timestep"}, "unet: class_embed_type: expected None, .*, got 'timestep'"),
        ({"time_embedding_type": "learned", "num_train_timesteps": 1000}, "unet: time_embedding_type: expected 'positional', .*'learned'"),
        ({"time_embedding_type": "fourier"}, "unet: time_embedding_type: expected 'positional', .*'fourier'"),
    ],
)
def test_denoisers_that_want_more_are_refused(vae, fields, words):
    with pytest.raises(ValueError, match=words):
        SemanticLink.from_diffusers(vae, seeded(diffusers.UNet2DModel, **TWO, **BLOCKS, **fields), SCHEDULER)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_class_embeds": 10}, "unet: num_class_embeds: "),
        ({"class_embed_type": "identity"}, "unet: class_embed_type: "),
        ({"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16}, "unet: addi"),
        ({"encoder_hid_dim_type": "text_proj", "encoder_hid_dim": 6}, "unet: encoder_hid_dim_type: "),
        ({"time_cond_proj_dim": 8}, "unet: time_cond_proj_dim: "),
        ({"cross_attention_dim": 7}, "prompt_embeds: expected a width of 7, the unet's cross_attention_dim, got 6"),
    ],
)
def test_conditional_denoisers_that_want_more_are_refused(vae, fields, words):
    halves = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    config = {"in_channels": 4, "out_channels": 4, "cross_attention_dim": 6, "attention_head_dim": 4} | halves | BLOCKS | fields
    with pytest.raises(ValueError, match=words):
        SemanticLink.from_diffusers(vae, seeded(diffusers.UNet2DConditionModel, **config), SCHEDULER, prompt_embeds=torch.zeros(1, 5, 6))


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("DDIMScheduler", {"thresholding": True}, "scheduler: thresholding: expected False, "),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "timestep_type: "),
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, "prediction|flow"),
        ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction"}, "scheduler: prediction_type: expected 'epsilon' or 'sample'"),
    ],
)
def test_schedulers_of_other_processes_are_refused(vae, unet, kind, fields, words):
    with pytest.raises((ValueError, TypeError), match=words):
        SemanticLink.from_diffusers(vae, unet, getattr(diffusers, kind)(**fields))


def test_latents_are_clipped_where_the_scheduler_says_so(vae, unet):
    """x_0 = (x - sqrt(1 - alpha_bar) noise) / sqrt(alpha_bar), within the bound."""
    clipped = diffusers.DDIMScheduler.from_config(SCHEDULER.config, clip_sample=True, clip_sample_range=0.2)
    link = SemanticLink.from_diffusers(vae, unet, clipped)
    heard = link.equalize_and_upsample(link.received(link.send(pictures(32, 48)), 0.1, size=(32, 48)), key=KEY, size=(32, 48))
    seen, decoded = [], []
    unet.register_forward_hook(lambda _, inputs, out: seen.append((*inputs, out.sample)))
    link.decode = lambda z, size: decoded.append(z)
    link.denoise_and_decode(heard, realism=0.0, key=KEY, size=(32, 48))
    (x, _, noise), a = seen[0], link.schedule.alpha_bar(seen[0][1]).float()[:, None, None, None]
    torch.testing.assert_close(decoded[0], ((x - (1 - a).sqrt() * noise) / a.sqrt()).clamp(-0.2, 0.2))
    link.denoise_and_decode(heard, steps=2, key=KEY, size=(32, 48))
    assert decoded[1].abs().max() <= 0.2
    assert SemanticLink.from_diffusers(vae, unet, SCHEDULER).clip is None


def variational(**fields):
    halves = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    return seeded(diffusers.AutoencoderKL, latent_channels=4, **halves, **(BLOCKS | {"block_out_channels": (8, 8, 8)}), **fields)


def test_each_channel_has_a_mean_and_a_deviation_where_the_autoencoder_says_so(unet):
    """As StableDiffusionXLPipeline: (latent - latents_mean) * scaling_factor / latents_std, and back."""
    mean, deviation = [0.5, -0.25, 0.0, 2.0], [1.0, 2.0, 0.5, 4.0]
    vae = variational(scaling_factor=0.5, latents_mean=mean, latents_std=deviation)
    link = SemanticLink.from_diffusers(vae, unet, SCHEDULER)
    x = pictures(32, 48)
    m, d = (torch.tensor(v).view(1, 4, 1, 1) for v in (mean, deviation))
    with torch.no_grad():
        z = link.encode(x)
        torch.testing.assert_close(z, (vae.encode(2 * x - 1).latent_dist.mode() - m) * 0.5 / d)
        torch.testing.assert_close(link.decode(z, (32, 48)), ((vae.decode(z * d / 0.5 + m).sample + 1) / 2).clamp(0, 1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"latents_mean": [0.0] * 4}, r"vae: expected latents_mean and latents_std both or neither, got \[0.0, .* and None"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "shift_factor": 0.1}, "vae: expected shift_factor or latents_mean, got b"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 4}, "vae: latents_mean: expected 4 finite numbers, got"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0, 0.0, 1.0, 1.0]}, "vae: latents_std: expected numbers above zero"),
        ({"scaling_factor": 0.0}, "vae: scaling_factor: expected a number above zero, got 0"),
        ({"scaling_factor": float("nan")}, "vae: scaling_factor: expected a finite number, got nan"),
        ({"out_channels": 4}, "vae: expected as many channels out as in, got 3 and 4"),
    ],
)
def test_autoencoders_that_say_what_cannot_be(unet, fields, words):
    with pytest.raises(ValueError, match=words):
        SemanticLink.from_diffusers(variational(**fields), unet, SCHEDULER)


TINY = {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1), "decoder_block_out_channels": (8, 8)}


def test_a_tiny_autoencoders_latents_are_scaled_both_ways(unet):
    tiny = seeded(diffusers.AutoencoderTiny, encoder_block_out_channels=(8, 8), scaling_factor=0.5, shift_factor=0.25, **TINY)
    link = SemanticLink.from_diffusers(tiny, unet, SCHEDULER)
    x = pictures(16, 24)
    with torch.no_grad():
        z = link.encode(x)
        torch.testing.assert_close(z, (tiny.encode(2 * x - 1).latents - 0.25) * 0.5)
        torch.testing.assert_close(link.decode(z, (16, 24)), ((tiny.decode(z / 0.5 + 0.25).sample + 1) / 2).clamp(0, 1))


def test_a_tiny_autoencoder_whose_sides_differ_is_refused(unet):
    tiny = seeded(diffusers.AutoencoderTiny, encoder_block_out_channels=(8, 8), upsampling_scaling_factor=4, **TINY)
    with pytest.raises(ValueError, match=r"vae: upsampling_scaling_factor: expected 2, .*, got 4"):
        SemanticLink.from_diffusers(tiny, unet, SCHEDULER)


@pytest.mark.slow
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
