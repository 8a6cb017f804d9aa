# SPDX-License-Identifier: Apache-2.0
"""A model's folder: tensors that are missing, renamed, too many, misshapen or not finite are refused by name, and classes no link has."""

import errno
import json
import shutil
from importlib import import_module

import pytest
import torch

pytest.importorskip("diffusers")

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from semdiff._util.parameters import check_tensors
from semdiff.baselines import ADJSCC
from semdiff.link import SemanticLink
from semdiff.metrics import classifier
from semdiff.models.loading import CLASSES
from semdiff.models.store import WEIGHTS, disk_errors, shipped_models, write_checksums
from tests.python.small_links import pixel_link

FILE = "diffusion_pytorch_model.safetensors"
HARMS = {
    "renamed": "expected the network's tensors, got them without {name} and with the unknown other",
    "missing": "expected the network's tensors, got them without {name}$",
    "extra": "expected the network's tensors, got them with the unknown more$",
    "nan": "{name}: expected finite weights, got NaN or infinity",
    "infinite": "{name}: expected finite weights, got NaN or infinity",
    "misshapen": "the files do not fit a .*size mismatch for {name}",
}


def harm(file, how):
    """Changes the file and returns the name of the tensor."""
    tensors = load_file(file)
    name = next(n for n, t in sorted(tensors.items()) if t.is_floating_point())
    if how == "renamed":
        tensors["other"] = tensors.pop(name)
    elif how == "missing":
        del tensors[name]
    elif how == "extra":
        tensors["more"] = torch.zeros(2)
    elif how == "misshapen":
        tensors[name] = torch.zeros(1, 2, 3, 4, 5)
    else:
        tensors[name].view(-1)[-1] = float("nan" if how == "nan" else "-inf")
    save_file(tensors, file, metadata={"format": "pt"})
    return name.replace(".", r"\.")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(shipped_models()["photos"], tmp_path / "model")


def change(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    write_checksums(file.parents[1] if file.name != "model_index.json" else file.parent)


@pytest.mark.parametrize(
    ("part", "how"),
    [
        *(("upsampler", how) for how in HARMS),
        *((part, "renamed") for part in ("vae", "unet", "downsampler", "mean_decoder", "detail_decoder")),
    ],
)
def test_a_link_has_all_its_tensors_and_no_others(folder, part, how):
    name = harm(folder / part / FILE, how)
    write_checksums(folder)
    with pytest.raises(ValueError, match=f"model/{part}: " + HARMS[how].format(name=name)):
        SemanticLink.from_pretrained(folder)


@pytest.mark.parametrize("how", HARMS)
def test_so_has_a_jscc(tmp_path, how):
    folder = shutil.copytree(shipped_models("adjscc")["fashion-mnist"], tmp_path / "model")
    name = harm(folder / FILE, how)
    write_checksums(folder)
    with pytest.raises(ValueError, match="model: " + HARMS[how].format(name=name)):
        ADJSCC.load(folder)


def test_so_has_the_classifier(monkeypatch):
    tensors = load_file(WEIGHTS / "fashion-mnist-classifier" / classifier.FILE)
    tensors["other"] = tensors.pop("neck.bias")
    monkeypatch.setattr("safetensors.torch.load", lambda _: tensors)
    classifier.default_classifier.cache_clear()
    with pytest.raises(ValueError, match=r"classifier\.safetensors: .* without neck\.bias and with the unknown other"):
        classifier.default_classifier()


def test_so_has_a_checkpoint(tmp_path):
    pytest.importorskip("accelerate")
    from semdiff import Key
    from semdiff._util.tensor_files import load_tensors, save_tensors
    from semdiff.training.engine import Plan, Stage, fit

    class Line(Stage):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 1)

        def forward(self, key, x):
            return {"loss": self.net(x).square().mean()}

    options = {"name": "line", "key": Key(0), "folder": tmp_path, "progress": False}
    fit(Line(), [torch.ones(4, 2)], Plan(2, 4, 1e-3), **options)
    tensors, meta = load_tensors(tmp_path / "line.safetensors")
    for kind in ("model", "average"):
        for name, words in (("bias", f"got them without net.bias and with the unknown net.{kind}$"), (None, "net.bias: expected finite")):
            changed = dict(tensors)
            if name:
                changed[f"{kind}.net.{kind}"] = changed.pop(f"{kind}.net.bias")
            else:
                changed[f"{kind}.net.bias"] = torch.full((1,), torch.nan)
            save_tensors(tmp_path / "line.safetensors", changed, meta)
            with pytest.raises(ValueError, match=f"line.safetensors: .*{words}"):
                fit(Line(), [torch.ones(4, 2)], Plan(2, 4, 1e-3), **options)


def test_tensors_are_compared_by_name_shape_and_finiteness():
    wanted = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_tensors("file", {"a": torch.ones(2), "b": torch.ones(3)}, wanted)
    with pytest.raises(ValueError, match=r"file: b: expected shape \(3,\), got \(2,\)"):
        check_tensors("file", {"a": torch.ones(2), "b": torch.ones(2)}, wanted)
    with pytest.raises(ValueError, match=r"got them with the unknown 0, 1, 2, 3 and 6 more$"):
        check_tensors("file", wanted | {str(i): torch.ones(1) for i in range(10)}, wanted)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"unet": ["torch.nn", "Linear"]}, r"unet: expected semdiff\.models\.networks\.Denoiser, .*, got torch\.nn\.Linear"),
        ({"unet": ["diffusers", "AutoencoderKL"]}, "unet: expected .*, got diffusers.AutoencoderKL"),
        ({"scheduler": ["os", "system"]}, "scheduler: expected .*diffusers.DDIMScheduler.*, got os.system"),
        ({"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "scheduler: expected .*, got diffusers.FlowMatch"),
        ({"prompt": "x"}, "prompt: expected semdiff.models.networks.Prompt, got x"),
        ({"safety_checker": ["diffusers", "UNet2DModel"]}, "safety_checker: unknown field; known: vae, "),
        ({"_class_name": "StableDiffusionPipeline"}, "expected a SemanticLink, got 'StableDiffusionPipeline'"),
    ],
)
def test_classes_that_no_link_has_are_not_even_imported(folder, fields, words, monkeypatch):
    imported = []
    monkeypatch.setattr("semdiff.models.loading.import_module", imported.append)
    change(folder / "model_index.json", **fields)
    with pytest.raises(ValueError, match=rf"model_index\.json: {words}"):
        SemanticLink.from_pretrained(folder)
    assert imported == []


@pytest.mark.parametrize("text", ["[", "[]", "3", "[" * 100_000])
def test_an_index_that_is_damaged(folder, text):
    (folder / "model_index.json").write_text(text)
    write_checksums(folder)
    with pytest.raises(ValueError, match=r"model_index\.json: expected a JSON object, .* but it is damaged"):
        SemanticLink.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "fields", "words"),
    [
        ("unet/config.json", {"_class_name": "Downsampler"}, "expected the config of Denoiser, got that of Downsampler"),
        ("unet/config.json", {"hint": 3}, "unknown field of a Denoiser: hint"),
        ("unet/config.json", {"_class_name": None}, "expected the config of Denoiser, got that of None"),
        ("scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler"}, "expected the config of DDIMScheduler, got that of PNDM"),
        ("scheduler/scheduler_config.json", {"_class_name": []}, r"expected the config of DDIMScheduler, got that of \[\]"),
    ],
)
def test_a_config_of_something_else(folder, file, fields, words):
    change(folder / file, **fields)
    with pytest.raises(ValueError, match=f"{file}: {words}"):
        SemanticLink.from_pretrained(folder)


def test_the_classes_are_there():
    for kinds in CLASSES.values():
        for module, name in kinds:
            assert hasattr(import_module(module), name)


def test_parts_may_be_handed_in(folder):
    given = SemanticLink.default("photos").unet
    shutil.rmtree(folder / "unet")
    (folder / "checksums.json").unlink()
    assert SemanticLink.from_pretrained(folder, unet=given).unet is given


def test_a_save_that_fails_at_its_end_leaves_the_old_model_as_it_was(folder, tmp_path, monkeypatch):
    """Its checksums too: the new folder has links to the old one's files, which nothing writes through."""
    write_checksums(folder)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def full(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("semdiff._util.atomic._put", full)
    with pytest.raises(OSError, match=r"Input/output error: '.*model'"):
        pixel_link().save_pretrained(folder)
    assert {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_what_safetensors_cannot_write_names_the_model(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*model'") as caught, disk_errors(tmp_path / "model"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(SafetensorError, match="another"), disk_errors(tmp_path):
        raise SafetensorError("another")
