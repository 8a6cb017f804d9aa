# SPDX-License-Identifier: Apache-2.0
"""The receiver of `Hybrid` knows how wrong it is, and its networks are told so."""

import math

import pytest
import torch

from semdiff import Key, normal
from semdiff.data import sample_photos

pytest.importorskip("PIL")
pytest.importorskip("diffusers")
pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

from semdiff.baselines import Hybrid
from semdiff.baselines.hybrid_link import HybridLink, scaled_state
from semdiff.baselines.hybrid_reception import error_maps, receive_hybrid
from semdiff.baselines.residual import CELL, CLASSES, ORDERS, Plan, allocate, synthesize
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.metrics import lpips, psnr
from semdiff.models.restorer import PIXEL_STD, PictureDenoiser, Restored, Restorer
from tests.python.pretrained import require_lpips

KEY = Key(31)
LINK = HybridLink(Restorer(), Restorer(), codec="jpeg")  # untrained


def plan_of(cells: int, slots_for_each: int, noise_var: float) -> Plan:
    """Variances that fall with the order, one class of cells, and the allocation of least error."""
    order = torch.arange(1, CELL + 1, dtype=torch.float64)
    variances = (0.01 / (order[:, None] * order) ** 2).expand(CLASSES, 3, CELL, CELL)
    counts = torch.zeros_like(variances)
    counts[0] = cells
    factors = allocate(variances, counts, cells * slots_for_each, noise_var)
    classes = torch.zeros(cells, dtype=torch.int64)
    return Plan(variances.float()[classes], factors.float()[classes], cells * slots_for_each)


def test_the_error_is_as_large_as_the_receiver_says():
    """Gaussian coefficients of the profile's variances: 4,096 cells, so a coefficient's mean square has a deviation of 2.2 %."""
    cells, noise_var, scale = 4096, 0.3, 0.9
    plan = plan_of(cells, 40, noise_var)
    residual = normal(plan.variances.shape, KEY) * plan.variances.sqrt()
    noise = torch.full((plan.slots,), noise_var)
    numbers = plan.send(residual) * scale + noise.sqrt() * normal((plan.slots,), KEY.fold_in(1))
    error = (plan.receive(numbers, scale, noise) - residual).square().mean(0)
    said = plan.error_variances(scale, noise)
    assert bool((said <= plan.variances).all())
    torch.testing.assert_close(error / said[0], torch.ones_like(error), atol=5 * math.sqrt(2 / cells), rtol=0)
    # The last map is the error of a pixel.
    picture = synthesize(plan.receive(numbers, scale, noise) - residual, (3, 64 * CELL, 64 * CELL))
    assert float(picture.square().mean()) == pytest.approx(float(error_maps(said, 64)[-1].exp().mean()), rel=0.02)


def test_maps_are_means_of_rings_of_coefficients():
    variances = normal((6, 3, CELL, CELL), KEY).square() + 0.1
    maps = error_maps(variances, 2)
    assert maps.shape == (2 * ORDERS + 1, 2, 3)
    one = variances[4]  # second row, second column
    for octave in range(ORDERS):
        inside = [(i, j) for i in range(CELL) for j in range(CELL) if max(i.bit_length(), j.bit_length()) == octave]
        rows, columns = (torch.tensor(axis) for axis in zip(*inside, strict=True))
        assert float(maps[octave, 1, 1].exp()) == pytest.approx(float(one[0, rows, columns].mean()), rel=1e-5)
        assert float(maps[ORDERS + octave, 1, 1].exp()) == pytest.approx(float(one[1:, rows, columns].mean()), rel=1e-5)


@pytest.mark.parametrize("size", [(128, 160), (97, 131)])
def test_an_untrained_network_shows_the_linear_estimate(size):
    images = sample_photos()[:1, :, : size[0], : size[1]]
    plain, ours = (code.transmit(images, 9.0, cbr=1 / 8, key=KEY).images for code in (Hybrid(codec="jpeg"), LINK))
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)


def test_an_untrained_network_says_the_variance_of_the_linear_estimate():
    plan = plan_of(8 * 10, 12, 0.5)
    base = torch.rand(3, 8 * CELL, 10 * CELL)
    noise = torch.full((plan.slots,), 0.5)
    reception = receive_hybrid(base, plan, torch.zeros(plan.slots), 1.0, noise)
    assert torch.equal(reception.picture[0], base)  # nothing arrived
    restored = Restorer()(reception.base, reception.picture, reception.error_maps())
    assert torch.equal(restored.mean, reception.picture)
    expected = reception.error_maps()[:, -1:].repeat_interleave(CELL, 2).repeat_interleave(CELL, 3).expand(-1, 3, -1, -1)
    torch.testing.assert_close(restored.logvar, expected)


def test_grey_pictures_are_shown_as_they_arrive():
    images = sample_photos()[:1, :1, :128, :128]
    plain, ours = (code.transmit(images, 9.0, cbr=1 / 4, key=KEY).images for code in (Hybrid(codec="jpeg"), LINK))
    assert torch.equal(ours, plain)


def gaussian_case(schedule: NoiseSchedule) -> tuple[HybridLink, Restored, torch.Tensor, torch.Tensor]:
    """A link whose denoiser is exact for pixels that are independent Gaussians around what is known of them, and those pixels.

    The estimate p has an error of variance s^2, different in the two halves, and is the mean of the pixels: x = p + s n. Then the state
    x + left (p + k s eps - x) has a conditional mean of x that is linear in it.
    """
    variance = torch.full((1, 3, 64, 64), 1e-3)
    variance[..., 32:] = 1e-2
    p = torch.full_like(variance, 0.5)
    x = p + variance.sqrt() * normal(variance.shape, KEY)
    link = HybridLink(Restorer(), Restorer(), PictureDenoiser(), codec="jpeg")

    class Exact(torch.nn.Module):
        """The expectation of the noise start - x in units of its deviation: it is jointly Gaussian with the state."""

        def forward(self, noisy: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
            k2, total = link.renoise, (1 + link.renoise) * variance
            left = (log_var.exp() / total).sqrt()
            # noisy - p = (1 - left) (x - p) + left k s eps; start - x = -(x - p) + k s eps.
            power = ((1 - left).square() + left.square() * k2) * variance
            cross = (left * k2 - (1 - left)) * variance
            return cross / power * (noisy - p) / total.sqrt()

    link.denoiser = Exact()
    return link, Restored(p, variance.log()), x, variance


def test_samples_have_the_law_of_the_pixels():
    """2 x 6,144 pixels of known variance: a variance over so many has a deviation of 1.8 %, and 64 steps leave another percent."""
    link, estimate, _, variance = gaussian_case(NoiseSchedule.scaled_linear())
    drawn = link.draw(estimate, link.denoiser, 64, Key(5))
    assert drawn.shape == variance.shape
    for half in (slice(0, 32), slice(32, 64)):
        error = (drawn - 0.5)[..., half]
        assert float(error.square().mean() / variance[..., half].mean()) == pytest.approx(1.0, abs=0.08)


def test_one_step_gives_the_mean_of_what_is_known():
    link, estimate, x, variance = gaussian_case(NoiseSchedule.scaled_linear())
    drawn = link.draw(estimate, link.denoiser, 1, Key(5))
    # At the start the state is p + k s eps, which says nothing of x: its mean is p.
    torch.testing.assert_close(drawn, torch.full_like(drawn, 0.5), atol=2e-3, rtol=0)
    assert float((drawn - x).square().mean() / variance.mean()) == pytest.approx(1.0, abs=0.05)


def test_the_first_state_has_equal_noise_in_every_pixel():
    schedule = NoiseSchedule.scaled_linear()
    _, estimate, x, variance = gaussian_case(schedule)
    (state, t), scale = scaled_state(estimate, 0.25, schedule, Key(6))
    noise_var = schedule.noise_var(t)
    assert float(noise_var) == pytest.approx(1.25 * float(variance.double().mean()) / PIXEL_STD**2, rel=1e-5)  # above LEAST_NOISE
    noise = state * float((1 + noise_var).sqrt()) - x / scale
    for half in (slice(0, 32), slice(32, 64)):
        assert float(noise[..., half].square().mean() / noise_var) == pytest.approx(1.0, abs=0.08)


def test_a_saved_link_makes_the_same_pictures(tmp_path):
    torch.manual_seed(3)
    small = {"width": 8, "deep_width": 8}
    link = HybridLink(Restorer(**small), Restorer(**small), PictureDenoiser(**small), renoise=0.5, share=0.8, codec="jpeg")
    for network in link.components.values():
        torch.nn.init.normal_(network.net.conv_out.weight, std=0.05)
    link.save(tmp_path / "link")
    images = sample_photos()[:1, :, :64, :96]
    again = HybridLink.load(tmp_path / "link")
    assert (again.share, again.codec, again.renoise) == (0.8, "jpeg", 0.5)
    assert HybridLink.load(tmp_path / "link", share=0.6).share == 0.6
    assert list(again.components) == ["restorer", "perceptual", "denoiser"]
    found = []
    for realism, steps, evaluations in ((0.0, "auto", 0), (1.0, 2, 2), (0.5, "auto", 4), (1.0, "auto", 4)):
        one, other = (each.transmit(images, 12.0, cbr=1 / 4, key=KEY, realism=realism, steps=steps) for each in (link, again))
        assert torch.equal(one.images, other.images)
        assert one.evaluations == other.evaluations == evaluations
        found.append(one.images)
    torch.testing.assert_close(found[2], (found[0] + found[3]) / 2)
    assert not torch.equal(found[1], found[3])


def test_a_denoiser_needs_an_estimate_to_begin_with():
    with pytest.raises(ValueError, match="perceptual: expected a Restorer"):
        HybridLink(Restorer(), None, PictureDenoiser())


def test_only_whole_safetensors_of_the_right_class_are_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="restorer"):
        HybridLink.load(tmp_path)
    HybridLink(Restorer(width=8, deep_width=8), codec="jpeg").save(tmp_path / "link")
    weights = tmp_path / "link" / "restorer" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="truncated or altered"):
        HybridLink.load(tmp_path / "link")
    weights.unlink()
    (tmp_path / "link" / "checksums.json").unlink()
    torch.save(Restorer(width=8, deep_width=8).state_dict(), weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match="damaged or incomplete"):
        HybridLink.load(tmp_path / "link")
    HybridLink(Restorer(width=8, deep_width=8), codec="jpeg").save(tmp_path / "other")
    (tmp_path / "other" / "checksums.json").unlink()
    (tmp_path / "other" / "model_index.json").write_text('{"_class_name": "SemanticLink"}')
    with pytest.raises(ValueError, match="expected a HybridLink, got 'SemanticLink'"):
        HybridLink.load(tmp_path / "other")


def test_the_networks_of_the_repository_restore_photographs() -> None:
    """By 0.1 dB the mean, by a sixth of LPIPS the picture of most detail: each photograph, at two SNRs."""
    require_lpips()
    link = HybridLink.default("photos")
    images = sample_photos()[:3, :, :192, :288]
    for snr_db in (2.0, 8.0):
        linear = Hybrid(share=link.share, codec=link.codec).transmit(images, snr_db, cbr=1 / 24, key=KEY)
        mean, detail = (link.transmit(images, snr_db, cbr=1 / 24, realism=realism, key=KEY) for realism in (0.0, 1.0))
        assert linear.ledger == mean.ledger == detail.ledger
        assert (psnr(mean.images, images) > psnr(linear.images, images) + 0.1).all()
        assert (lpips(detail.images, images) < lpips(linear.images, images) / 1.2).all()
