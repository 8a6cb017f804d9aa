# SPDX-License-Identifier: Apache-2.0
"""DeepJSCC and ADJSCC: the layers against their formulas, transmit's promises, files, and a training that learns and resumes."""

import pytest
import torch
from torch.nn import functional as F

import semdiff
from semdiff.baselines import ADJSCC, DeepJSCC, PerceptualADJSCC, PerceptualResidualJSCC, ResidualJSCC
from semdiff.data import sample_images, sample_photos
from semdiff.metrics import psnr
from semdiff.models.jscc_layers import GDN, AttentionFeature
from semdiff.training.engine import Plan
from semdiff.training.finetuning import describe_outcome as outcome
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes import jscc
from semdiff.training.saving import images_seen
from semdiff.training.stages.jscc import LPIPS_WEIGHT, TYPICAL
from semdiff.transmission.header import HEADER_USES
from tests.python.photographs import photographs
from tests.python.pretrained import require_lpips

KEY = semdiff.Key(5)
IMAGES = sample_images()
SMALL = {"width": 16, "outer_width": 8, "depth": 1}


def model(kind=ADJSCC, **config):
    torch.manual_seed(3)
    grey = {"image_shape": (1, 28, 28), "symbol_channels": 2, "rates": (2, 1)}  # which DeepJSCC and ADJSCC are for by default
    return kind(**(SMALL | grey | config)).eval()


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_is_its_formula(inverse):
    torch.manual_seed(0)
    layer, x = GDN(3, inverse), torch.randn(2, 3, 4, 5)
    with torch.no_grad():
        layer.gamma.copy_(torch.rand(3, 3))
        layer.beta.copy_(torch.rand(3) + 0.5)
    want = torch.empty_like(x)
    for i in range(3):
        root = (layer.beta[i] ** 2 + 1e-6 + sum(layer.gamma[i, j] ** 2 * x[:, j] ** 2 for j in range(3))).sqrt()
        want[:, i] = x[:, i] * root if inverse else x[:, i] / root
    torch.testing.assert_close(layer(x), want)


def test_attention_scales_channels_by_snr():
    torch.manual_seed(0)
    layer, x = AttentionFeature(6), torch.randn(1, 6, 3, 3)
    low, high = (layer(x, torch.tensor([[snr_db / 20, 1.0]])) / x for snr_db in (-5.0, 15.0))
    for scale in (low, high):
        torch.testing.assert_close(scale, scale.mean((2, 3), keepdim=True).expand_as(scale))
        assert ((scale > 0) & (scale < 1)).all()
    assert not torch.allclose(low, high)


def test_deepjscc_is_not_told_the_snr_and_the_others_are():
    snr_db, rate = torch.full((10,), 3.0), torch.ones(10)
    for kind, told in ((DeepJSCC, False), (ADJSCC, True), (ResidualJSCC, True)):
        net = model(kind)
        same = torch.equal(net.encode(IMAGES, snr_db, rate), net.encode(IMAGES, snr_db + 10, rate))
        assert same != told


@pytest.mark.parametrize("kind", [DeepJSCC, ADJSCC, ResidualJSCC])
@pytest.mark.parametrize(("cbr", "uses"), [(1 / 12, 64), (1 / 24, 32)])
def test_transmit_keeps_its_promises(kind, cbr, uses):
    net = model(kind)
    snr_db = torch.linspace(-5, 15, 10)
    sent = net.transmit(IMAGES, snr_db, cbr=cbr, key=KEY)
    assert sent.images.shape == IMAGES.shape
    assert ((sent.images >= 0) & (sent.images <= 1)).all()
    assert (sent.ledger.total, sent.ledger.cbr, sent.evaluations) == (uses, uses / 784, 0)
    assert sent.t.isnan().all()
    assert (sent.snr_db - snr_db).abs().max() < 3  # 64 or 32 symbols: 0.8 to 1.1 dB of standard deviation
    again = net.transmit(IMAGES, snr_db, cbr=cbr, key=KEY)
    assert torch.equal(sent.images, again.images)
    assert not torch.equal(sent.images, net.transmit(IMAGES, snr_db, cbr=cbr, key=semdiff.Key(6)).images)


def test_symbols_have_unit_power_whatever_the_rate():
    class Reception(semdiff.AWGN):
        def forward(self, s, snr_db, key=None):
            self.power = s.abs().square().mean(1)
            return super().forward(s, snr_db, key)

    for cbr in (1 / 12, 1 / 24):
        channel = Reception()
        model().transmit(IMAGES, 5.0, cbr=cbr, channel=channel, key=KEY)
        torch.testing.assert_close(channel.power, torch.ones(10))


def test_a_clean_channel_is_the_autoencoder():
    net, rate = model(), torch.ones(10)
    sent = net.transmit(IMAGES, 90.0, cbr=1 / 12, key=KEY)
    features = net.encode(IMAGES, torch.full((10,), 90.0), rate)
    features = features / features.square().mean((1, 2, 3), keepdim=True).sqrt()
    want = net.decode(features, torch.full((10,), 90.0), rate, (28, 28)).clamp(0, 1)
    torch.testing.assert_close(sent.images, want, atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", [ADJSCC, ResidualJSCC])
@pytest.mark.parametrize("shape", [(3, 32, 48), (1, 29, 35)])
def test_any_size_comes_back_in_its_size(shape, kind):
    net = model(kind, image_shape=shape, rates=(2,))
    images = torch.rand(2, *shape)
    cbr = next(iter(net.cbrs.values()))
    assert net.transmit(images, 5.0, cbr=cbr, key=KEY).images.shape == images.shape


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"snr_db": float("nan")}, ValueError, "snr_db"),
        ({"snr_db": torch.zeros(3)}, ValueError, "snr_db"),
        ({"cbr": 1 / 7}, ValueError, "cbr"),
        ({"images": torch.rand(2, 1, 20, 20)}, ValueError, "images"),
        ({"images": torch.zeros(2, 1, 28, 28, dtype=torch.int64)}, TypeError, "images"),
    ],
)
def test_bad_input_is_named(change, error, name):
    with pytest.raises(error, match=f"^{name}: "):
        model().transmit(**({"images": IMAGES, "snr_db": 5.0} | change))


def test_files_come_back_and_damage_is_seen(tmp_path):
    net = model()
    net.save(tmp_path / "net")
    back = ADJSCC.load(tmp_path / "net")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match="expected the weights of a DeepJSCC, got those of a ADJSCC"):
        DeepJSCC.load(tmp_path / "net")
    with pytest.raises(ValueError, match="expected the weights of a ResidualJSCC, got those of a ADJSCC"):
        ResidualJSCC.load(tmp_path / "net")
    model(ResidualJSCC).save(tmp_path / "residual")
    residual = PerceptualResidualJSCC.load(tmp_path / "residual")  # which goes on from it
    assert torch.equal(residual.transmit(IMAGES, 5.0, key=KEY).images, model(ResidualJSCC).transmit(IMAGES, 5.0, key=KEY).images)
    weights = next((tmp_path / "net").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ValueError, match=weights.name):
        ADJSCC.load(tmp_path / "net")
    with pytest.raises(FileNotFoundError, match=r"folder: expected a folder of a trained model, .*nothing"):
        ADJSCC.load(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        ADJSCC.load(tmp_path / "empty")


def test_a_variable_names_the_folder_of_the_baselines(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMDIFF_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"'fashion-mnist' lies in {tmp_path} \(weights/ of a clone .*SEMDIFF_WEIGHTS"):
        ADJSCC.default()
    model().save(tmp_path / "fashion-mnist-adjscc")
    assert ADJSCC.default().config.width == model().config.width


@pytest.mark.parametrize(
    ("snr_db", "expected"), [(0.0, (21.36, 19.80, 18.50)), (10.0, (26.93, 24.65, 22.92)), (20.0, (30.79, 27.12, 24.63))]
)
def test_the_code_of_cifar10_sends_small_photographs(snr_db, expected):
    """PSNR in dB at CBR 1/6, 1/12, 1/24, as measured with these weights and this noise."""
    small = F.interpolate(sample_photos(), scale_factor=0.25, mode="area")
    tiles = small.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).flatten(0, 2).contiguous()
    assert tiles.shape == (16, 3, 32, 32)
    code = ResidualJSCC.default()
    found = [psnr(code.transmit(tiles, snr_db, cbr=cbr, key=semdiff.Key(0)).images, tiles).mean().item() for cbr in (1 / 6, 1 / 12, 1 / 24)]
    assert found == pytest.approx(expected, abs=0.02)


def test_the_repositorys_weights_are_found_by_name():
    for kind in (ADJSCC, DeepJSCC, PerceptualADJSCC):
        assert kind.default("fashion-mnist").image_shape == kind.default().image_shape == (1, 28, 28)
    for kind in (ADJSCC, DeepJSCC):
        with pytest.raises(FileNotFoundError, match=f"no {kind.__name__} of the name 'cats' lies in .*weights"):
            kind.default("cats")


def test_the_loss_is_the_squared_error_of_what_arrives():
    """At a high SNR the stage's loss is that of the autoencoder at both rates: the error of transmit's pictures."""
    net = model()
    loss = jscc.JSCCStage(net, Conditions((60.0, 60.001), 0.0, fading=False))(KEY, IMAGES)["loss"]
    parts = [(IMAGES[:5], 1 / 12), (IMAGES[5:], 1 / 24)]
    rates, snr_db = (1.0, 0.5), torch.full((5,), 60.0)
    error = 0.0
    for (images, cbr), rate in zip(parts, rates, strict=True):
        features = net.encode(images, snr_db, torch.full((5,), rate))[:, : int(2 * rate)]
        features = features / features.square().mean((1, 2, 3), keepdim=True).sqrt()
        features = F.pad(features, (0, 0, 0, 0, 0, 2 - features.shape[1]))
        error += float((net.decode(features, snr_db, torch.full((5,), rate), (28, 28)) - images).detach().square().mean()) / 2
        assert abs(net.cbrs[int(2 * rate)] - cbr) < 0.01
    assert float(loss.detach()) == pytest.approx(error, rel=2e-3)


@pytest.mark.parametrize("exponent", [0.5, 0.25])
def test_an_exponent_makes_images_with_little_error_count_more(exponent):
    """Each image's gradient is that of its squared error times (error / TYPICAL)^(exponent - 1)."""
    net, conditions = model(), Conditions((0.0, 20.0), 0.0, fading=False)
    stage = jscc.JSCCStage(net, conditions, exponent)
    out = stage.send(KEY, IMAGES)
    each = (out - IMAGES).square().mean((1, 2, 3))
    weights = (each.detach() / TYPICAL) ** (exponent - 1)
    expected = torch.autograd.grad((weights * each).mean(), net.to_image.weight)[0]
    found = torch.autograd.grad(stage(KEY, IMAGES)["loss"], net.to_image.weight)[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_the_perceptual_stage_adds_lpips(lpips_weights):
    net = model(PerceptualADJSCC)
    terms = jscc.JSCCStage(net)(KEY, IMAGES)
    plain = model()
    plain.load_state_dict(net.state_dict())
    assert float(terms["mse"].detach()) == float(jscc.JSCCStage(plain)(KEY, IMAGES)["loss"].detach())
    torch.testing.assert_close(terms["loss"], terms["mse"] + LPIPS_WEIGHT * terms["lpips"])
    assert 0 < float(terms["lpips"].detach()) < 2
    terms["lpips"].backward()
    assert net.to_image.weight.grad.abs().sum() > 0


@pytest.fixture
def lpips_weights():
    require_lpips()


@pytest.mark.slow
def test_training_learns_resumes_and_goes_on_with_lpips(tmp_path, monkeypatch, lpips_weights):
    whole = jscc._fresh
    monkeypatch.setattr(jscc, "_fresh", lambda name, seed: whole(name, seed, **SMALL))
    images = IMAGES.repeat(13, 1, 1, 1)
    folder = jscc.train("adjscc", tmp_path / "a", budget=0.012, images=images, progress=False)  # 64 steps
    trained = ADJSCC.load(folder)
    torch.manual_seed(0)
    fresh = ADJSCC(**SMALL).eval()
    errors = [float((net.transmit(IMAGES, 10.0, key=KEY).images - IMAGES).square().mean()) for net in (trained, fresh)]
    assert errors[0] < 0.8 * errors[1]
    again = jscc.train("adjscc", tmp_path / "a", budget=0.012, images=images, progress=False)  # its checkpoint is finished
    assert (again / "diffusion_pytorch_model.safetensors").read_bytes() == (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    further = jscc.train("adjscc-lpips", tmp_path / "b", budget=0.01, images=images, start=folder, progress=False)
    assert not torch.equal(PerceptualADJSCC.load(further).to_image.weight, trained.to_image.weight)


def test_training_names_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="name: expected one of adjscc"):
        jscc.train("ajscc", tmp_path)
    model(DeepJSCC).save(tmp_path / "unknown")
    with pytest.raises(ValueError, match=r"start: expected a deepjscc whose training\.json says how many images it has seen"):
        jscc.train("deepjscc", tmp_path, images=IMAGES, start=tmp_path / "unknown")


def test_a_training_goes_on_from_what_its_checkpoint_held(tmp_path, monkeypatch):
    """The averaged weights of a checkpoint become a model that says what it has seen; a training from it takes the steps that are left."""
    whole = jscc._fresh
    monkeypatch.setattr(jscc, "_fresh", lambda name, seed: whole(name, seed, **SMALL))
    plan = Plan(steps=6, batch_size=4, learning_rate=1e-3, warm_up=1)
    monkeypatch.setitem(jscc.PLANS, "fashion-mnist", (plan, plan))
    stopped = dict(budget=0.5, images=IMAGES, progress=False)  # 3 of 6 steps
    first = jscc.train("adjscc", tmp_path / "a", **stopped)
    weights = (first / "diffusion_pytorch_model.safetensors").read_bytes()
    assert images_seen(first) == {"adjscc": 12}
    again = jscc.save_checkpoint("adjscc", tmp_path / "a")
    assert (again / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    steps = []
    fit = jscc.fit
    monkeypatch.setattr(jscc, "fit", lambda *args, **how: fit(*args, **how, on_step=steps.append))
    second = jscc.train("adjscc", tmp_path / "b", images=IMAGES, start=first, progress=False)
    assert steps == [4, 5, 6]
    assert images_seen(second) == {"adjscc": 24}
    assert not torch.equal(ADJSCC.load(second).to_image.weight, ADJSCC.load(first).to_image.weight)


PHOTO = {"width": 8, "outer_width": 4, "depth": 1}


@pytest.mark.parametrize("size", [(32, 48), (50, 33)])
def test_pictures_of_any_size_cost_what_the_link_charges(size):
    net = model(**(jscc.PHOTOS | PHOTO))
    images = photographs(64)[..., : size[0], : size[1]]
    cells = -(-size[0] // 16) * -(-size[1] // 16)
    assert net.cbrs == pytest.approx({32: 1 / 12, 16: 1 / 24, 8: 1 / 48})
    for cbr, channels in ((1 / 12, 128), (1 / 24, 64), (1 / 48, 32)):
        sent = net.transmit(images, 5.0, cbr=cbr, key=KEY)
        assert sent.images.shape == images.shape
        assert sent.ledger.total == cells * channels // 2 + HEADER_USES
    together = net.transmit(images, 5.0, cbr=1 / 24, key=KEY).images
    torch.testing.assert_close(net.transmit(images[:1], 5.0, cbr=1 / 24, key=KEY).images, together[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_stages_draw_from_keys_of_their_own_and_names_stand_for_models(tmp_path, monkeypatch, lpips_weights):
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 1)
    pictures = {n: (p * 255).to(torch.uint8) for n, p in zip("abc", photographs(200), strict=True)}
    seen = []
    forward = jscc.JSCCStage.forward
    monkeypatch.setattr(jscc.JSCCStage, "forward", lambda stage, key, images: seen.append(key) or forward(stage, key, images))
    jscc.train_photos("adjscc", tmp_path / "a", 60.0, pictures=pictures, progress=False, **PHOTO)
    assert len(set(seen)) == len(seen) == 2
    assert seen[0] == semdiff.Key(0).fold_in(0).fold_in(0)
    with pytest.raises(FileNotFoundError, match="start: expected a folder of a trained model, one of fashion-mnist, photos"):
        jscc.train_photos("adjscc", tmp_path / "b", 60.0, pictures=pictures, start="nowhere", progress=False, **PHOTO)
    monkeypatch.setattr(jscc, "fit", lambda *arguments, **options: {})
    shipped = ADJSCC.load(jscc.train_photos("adjscc", tmp_path / "c", 60.0, pictures=pictures, start="photos", progress=False))
    for name, tensor in ADJSCC.default("photos").state_dict().items():
        assert torch.equal(shipped.state_dict()[name], tensor)
    assert outcome(tmp_path / "c").endswith("Kept: the trained weights.")  # which are no worse


def test_a_jscc_that_came_to_harm_stays_as_it_was(tmp_path, monkeypatch, lpips_weights):
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 1)
    pictures = {n: (p * 255).to(torch.uint8) for n, p in zip("abc", photographs(200), strict=True)}
    before = model(**(jscc.PHOTOS | PHOTO))
    before.save(tmp_path / "before")
    plans = []

    def harm(stage, batches, plan, **options):
        plans.append(plan)
        torch.nn.init.zeros_(stage.model.to_image.weight)

    monkeypatch.setattr(jscc, "fit", harm)
    folder = jscc.train_photos("adjscc", tmp_path / "a", 60.0, pictures=pictures, start=tmp_path / "before", progress=False, **PHOTO)
    torch.testing.assert_close(ADJSCC.load(folder).to_image.weight, before.to_image.weight, rtol=1e-3, atol=1e-4)  # half precision
    assert outcome(tmp_path / "a").endswith("Kept: the weights that it began with.")
    jscc.train_photos("adjscc-lpips", tmp_path / "b", 60.0, pictures=pictures, start=tmp_path / "before", progress=False, **PHOTO)
    assert plans[0].learning_rate == pytest.approx(0.03 * plans[1].learning_rate)  # another aim is another training


@pytest.mark.slow
def test_training_on_photographs_keeps_its_plan_and_resumes(tmp_path, monkeypatch, lpips_weights):
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 3)
    pictures = {n: (p * 255).to(torch.uint8) for n, p in zip("abc", photographs(200), strict=True)}
    options = {"pictures": pictures, "progress": False} | PHOTO
    folder = jscc.train_photos("adjscc", tmp_path / "a", 60.0, **options)
    net = ADJSCC.load(folder)
    assert net.transmit(photographs(64), 5.0, cbr=1 / 48).images.isfinite().all()
    seen = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    jscc.train_photos("adjscc", tmp_path / "a", 60.0, **options)
    assert (folder / "diffusion_pytorch_model.safetensors").read_bytes() == seen
    jscc.train_photos("adjscc-lpips", tmp_path / "b", 60.0, start=folder, **options)
    further = ADJSCC.load(jscc.train_photos("adjscc", tmp_path / "d", 60.0, seed=1, start=folder, **options))
    for name, tensor in net.state_dict().items():  # three steps of Adam change no weight by more than their rates
        torch.testing.assert_close(further.state_dict()[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
    with pytest.raises(ValueError, match="start: expected the folder of a trained adjscc for adjscc-lpips, got None"):
        jscc.train_photos("adjscc-lpips", tmp_path / "b", 60.0, **options)
    with pytest.raises(ValueError, match=r"plan\.json: expected the plan of this recipe"):
        jscc.train_photos("adjscc", tmp_path / "a", 61.0, **options)
    with pytest.raises(ValueError, match="pictures: expected some of at least 192x192 pixels, got 1 smaller ones"):
        jscc.train_photos("adjscc", tmp_path / "c", 60.0, **(options | {"pictures": {"a": pictures["a"][:, :90]}}))
