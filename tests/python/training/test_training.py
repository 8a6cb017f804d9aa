# SPDX-License-Identifier: Apache-2.0
"""Training: deterministic, resumable to the bit, and each stage's loss is what its docstring says."""

import math

import pytest
import torch
from torch import nn

import semdiff

pytest.importorskip("accelerate")

from semdiff._util.atomic import write_atomically
from semdiff._util.tensor_files import load_tensors, save_tensors
from semdiff.diffusion.vae import GaussianSample
from semdiff.link import Downsampler, SemanticLink, Upsampler
from semdiff.models.pixel_blocks import from_blocks
from semdiff.rng import uniform
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.recipes.latents import LATENT_CHANNELS, RATES, build, train
from semdiff.training.stages.autoencoder import encode_in_batches, fold_statistics
from semdiff.training.stages.detail import DetailStage
from semdiff.training.stages.diffusion import denoising_times, velocity
from semdiff.training.stages.fidelity import FidelityStage
from semdiff.training.stages.receiver import ReceiverStage, path_point
from semdiff.training.stages.resampling import ResamplingStage, cross_channel
from tests.python.pretrained import require_lpips

KEY = semdiff.Key(11)
SCHEDULE = semdiff.NoiseSchedule.scaled_linear()
PLAN = Plan(steps=30, batch_size=8, learning_rate=0.05, warm_up=3)


class Line(Stage):
    """y = w x + b with a frozen part that must stay as it is."""

    frozen = ("teacher",)

    def __init__(self):
        super().__init__()
        self.line, self.teacher = nn.Linear(1, 1), nn.Linear(1, 1)
        for layer, (w, b) in ((self.line, (0.0, 0.0)), (self.teacher, (2.0, -1.0))):
            nn.init.constant_(layer.weight, w)
            nn.init.constant_(layer.bias, b)

    def forward(self, key, x):
        noisy = x + 0.01 * semdiff.normal(x.shape, key)
        return {"loss": (self.line(noisy) - self.teacher(x)).square().mean()}


class Stop(Exception):  # noqa: N818, it is no error
    pass


def stop_at(step):
    def check(n):
        if n == step:
            raise Stop

    return check


DATA = (torch.linspace(-1, 1, 50).unsqueeze(1),)


def run(folder=None, **kwargs):
    stage = Line()
    options = {"name": "line", "key": KEY, "folder": folder, "progress": False} | kwargs
    fit(stage, DATA, options.pop("plan", PLAN), **options)
    return stage


def weights_of(stage):
    return {n: t.clone() for n, t in stage.state_dict().items()}


def test_fit_learns_and_leaves_frozen_parts_alone():
    stage = run(plan=Plan(300, 16, 0.05))
    assert stage.line.weight.item() == pytest.approx(2, abs=0.05)
    assert stage.line.bias.item() == pytest.approx(-1, abs=0.05)
    assert stage.teacher.weight.item() == 2
    assert not stage.training


@pytest.mark.parametrize("interrupted_at", [1, 13, 29])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, interrupted_at):
    whole = weights_of(run())
    with pytest.raises(Stop):
        run(tmp_path, save_every=0.0, on_step=stop_at(interrupted_at))
    assert load_tensors(tmp_path / "line.safetensors")[1]["step"] == interrupted_at
    resumed = weights_of(run(tmp_path))
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)
    seen = []
    again = weights_of(run(tmp_path, on_step=seen.append))  # finished: nothing left to do
    assert seen == []
    assert all(torch.equal(whole[n], again[n]) for n in whole)


def test_resume_false_begins_anew(tmp_path):
    run(tmp_path)
    seen = []
    run(tmp_path, resume=False, on_step=seen.append)
    assert seen == list(range(1, 31))


@pytest.mark.parametrize("other", [{"plan": Plan(31, 8, 0.05, 3)}, {"key": semdiff.Key(12)}])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, other):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"line.safetensors: .*resume=False"):
        run(tmp_path, **other)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    run(tmp_path)
    file = tmp_path / "line.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"line.safetensors: .*damaged"):
        run(tmp_path)
    file.write_bytes(b"not a checkpoint at all, but long enough to be read as one")
    with pytest.raises(ValueError, match=r"line.safetensors: .*damaged"):
        run(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "c.safetensors"
    save_tensors(file, {"a": torch.ones(2)}, {"step": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, b"new")
    assert load_tensors(file)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_plan_rises_falls_and_scales():
    plan = Plan(1000, 8, 2.0, warm_up=100)
    assert plan.rate(0) == pytest.approx(0.02)
    assert plan.rate(100) > plan.rate(500) > plan.rate(999) > 0
    assert plan.rate(500) == pytest.approx(1.0)
    assert plan.scaled(0.01).steps == 10
    assert plan.scaled(1e-9).steps == 1


# Stages


def test_uniform_is_uniform():
    u = uniform(200_000, KEY, 2.0, 4.0).double()
    assert 2 <= u.min() <= u.max() <= 4
    assert u.mean().item() == pytest.approx(3, abs=0.01)
    assert u.var().item() == pytest.approx(1 / 3, abs=0.01)


def test_denoising_times_are_uniform_in_db():
    t = denoising_times(50_000, SCHEDULE, KEY, -5.0, 20.0, whole=0.0)
    db = -10 * SCHEDULE.noise_var(t).log10()
    assert db.min() >= -5.001
    assert db.max() <= 20.001
    assert db.mean().item() == pytest.approx(7.5, abs=0.1)


def test_velocity_is_the_samplers_v():
    z, x = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    t = torch.tensor([0.0, 250.5, 999.0], dtype=torch.float64)
    v = velocity(x, z, SCHEDULE.alpha_bar(t))
    back = semdiff.posterior_mean(lambda x, t: v, semdiff.DiffusionState(x, t), SCHEDULE, prediction="v")
    torch.testing.assert_close(back, z, rtol=1e-3, atol=1e-3)


def test_folded_statistics_normalise_the_latents():
    images = torch.rand(64, 1, 28, 28)
    vae = build(1).vae
    fold_statistics(vae, images)
    z = encode_in_batches(vae, images, 10)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(LATENT_CHANNELS), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(LATENT_CHANNELS), atol=1e-3, rtol=0)


def test_crossing_serves_every_rate_and_passes_gradients():
    down, up = Downsampler(), Upsampler()
    seen = []
    up.register_forward_pre_hook(lambda module, arguments: seen.append(arguments))
    gaussian, noise_var = cross_channel(down, up, torch.randn(6, 4, 8, 8), RATES, KEY)
    features, _, rate = seen[0][:3]
    assert rate.tolist() == [1.0] * 3 + [0.5] * 3
    assert features[3:, 4:].abs().max() == 0
    assert features[:3, 4:].abs().min() > 0
    assert noise_var.shape == (6,)
    gaussian.mean.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in down.parameters())


def test_resampling_stage_is_the_fused_loss():
    stage = ResamplingStage(Downsampler(), Upsampler(), RATES)
    z = torch.randn(4, 4, 8, 8)
    terms = stage(KEY, z)
    crossing_key, loss_key = KEY.split(2)
    gaussian, noise_var = cross_channel(stage.downsampler, stage.upsampler, z, RATES, crossing_key)
    expected = semdiff.upsampler_loss(gaussian.mean, gaussian.logvar, z, 1 / (1 + noise_var), 0.0, 0.1, loss_key)
    torch.testing.assert_close(terms["loss"], expected.total)


@pytest.fixture
def receiver():
    n = build(2)
    return ReceiverStage(n.vae, n.unet, n.downsampler, n.upsampler, SCHEDULE, RATES)


def test_path_runs_from_the_received_state_to_the_latent(receiver):
    """In units of z every point of the path is z + (sigma / sigma_0) times one error."""
    z = torch.randn(512, 4, 8, 8)
    noise_var = torch.full((512,), 0.2, dtype=torch.float64)
    gaussian = GaussianSample(*(torch.randn(512, 4, 8, 8) for _ in range(2)), torch.full((512, 4, 8, 8), -1.0))
    x, t = path_point(gaussian, noise_var, z, SCHEDULE, receiver.renoise, KEY)
    a = SCHEDULE.alpha_bar(t).float()[:, None, None, None]
    share = ((x / a.sqrt() - z) / ((1 - a) / a).sqrt()).square().mean((1, 2, 3)).sqrt()
    start = SCHEDULE.noise_var(t).max()
    assert (SCHEDULE.noise_var(t) > 0.999 * start).float().mean() > 0.1  # the starts
    assert SCHEDULE.noise_var(t).min() < 0.01  # and nearly clean ones
    from semdiff.link.starting_state import starting_state

    begun = starting_state(gaussian, noise_var, SCHEDULE, "calibrated", receiver.renoise, KEY.split(2)[0])
    a0 = SCHEDULE.alpha_bar(begun.t).float()[:, None, None, None]
    whole = ((begun.x / a0.sqrt() - z) / ((1 - a0) / a0).sqrt()).square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(share, whole, rtol=1e-2, atol=1e-2)


def test_receiver_stage_reaches_every_network_but_the_encoder(receiver):
    terms = receiver(KEY, torch.randn(8, LATENT_CHANNELS, 8, 8), torch.rand(8, 1, 28, 28))
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in receiver.parameters())
    assert not any("encoder" in n for n in receiver.state_dict())
    assert all(v.isfinite() for v in terms.values())


@pytest.mark.slow
def test_whole_recipe_is_deterministic_and_resumes_to_the_bit(tmp_path):
    require_lpips()
    images = torch.rand(80, 1, 28, 28, generator=torch.Generator().manual_seed(4))
    options = {"budget": 0.001, "images": images, "progress": False}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in convolutions may differ from one run to the next otherwise
    try:
        whole = train(tmp_path / "whole", **options)

        def stop(stage, step):
            if (stage, step) == ("resampling", 2):
                raise Stop

        with pytest.raises(Stop):
            train(tmp_path / "cut", on_step=stop, **options)
        assert not (tmp_path / "cut" / "model").exists()
        cut = train(tmp_path / "cut", **options)
    finally:
        torch.set_num_threads(threads)
    files = [p.relative_to(whole) for p in whole.rglob("*.safetensors")]
    assert len(files) == 5
    assert all((whole / f).read_bytes() == (cut / f).read_bytes() for f in files)
    link = SemanticLink.from_pretrained(cut)
    assert link.transmit(images[:2], 5.0, key=KEY).images.isfinite().all()


def test_bad_budget_is_named(tmp_path):
    with pytest.raises(ValueError, match="budget"):
        train(tmp_path, budget=0.0, images=torch.rand(8, 1, 28, 28))


@pytest.fixture
def lpips_weights():
    require_lpips()


def test_fidelity_stage_trains_what_the_link_receives_at_realism_0():
    networks = build(0)
    stage = FidelityStage(networks.vae, networks.downsampler, networks.upsampler, RATES, (networks.unet, SCHEDULE))
    stage.freeze()
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    terms = stage(KEY, images)
    terms["loss"].backward()
    trained = (networks.downsampler, networks.upsampler, networks.vae.decoder)
    assert all(p.grad is not None and p.grad.isfinite().all() for part in trained for p in part.parameters())
    assert all(p.grad is None for part in (networks.unet, networks.vae.encoder) for p in part.parameters())
    pixels = (terms["loss"] - terms["fused"]).item() / 10
    assert terms["psnr"].item() == pytest.approx(-10 * math.log10(pixels / 4), abs=1e-3)
    link = networks.link()
    heard = link.equalize_and_upsample(link.received(link.send(images), 0.1), key=KEY)
    with torch.no_grad():
        decoded = from_blocks(stage.decode(*heard, KEY), 28, 28).clamp(0, 1)
    torch.testing.assert_close(link.denoise_and_decode(heard, realism=0.0, key=KEY)[0], decoded)


def test_detail_stage_trains_the_sample_decoder_alone(lpips_weights):
    networks = build(0)
    networks.sample_decoder.decoder.load_state_dict(networks.vae.decoder.state_dict())
    stage = DetailStage(networks.unet, networks.downsampler, networks.upsampler, networks.sample_decoder, SCHEDULE, RATES, pixel_weight=2.0)
    stage.freeze()
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    terms = stage(KEY, torch.randn(4, LATENT_CHANNELS, 8, 8), images)
    torch.testing.assert_close(terms["loss"], terms["lpips"] + 2 * terms["mse"])
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in networks.sample_decoder.parameters())
    others = (networks.unet, networks.downsampler, networks.upsampler, networks.vae)
    assert all(p.grad is None for part in others for p in part.parameters())


def test_samples_go_through_their_own_decoder():
    networks = build(0)
    networks.sample_decoder.decoder.load_state_dict(networks.vae.decoder.state_dict())
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(2))

    def sent(realism):
        return networks.link().transmit(images, 5.0, realism=realism, steps=2, key=KEY).images

    before = {r: sent(r) for r in (0.0, 0.5, 1.0)}
    with torch.no_grad():
        networks.sample_decoder.decoder.layers[-1].bias.add_(0.1)
    assert torch.equal(sent(0.0), before[0.0])
    assert not torch.equal(sent(1.0), before[1.0])
    torch.testing.assert_close(sent(0.5), (before[0.0] + sent(1.0)) / 2)
