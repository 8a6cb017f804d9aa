# SPDX-License-Identifier: Apache-2.0
"""Models on the Hugging Face Hub, of which a server here speaks the HTTP API: sent, fetched, cached, offline, and refused.

huggingface_hub reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE when it is imported, so each conversation is a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

from safetensors.torch import load_file

from semdiff.baselines import ADJSCC
from semdiff.models.hub import is_repository
from semdiff.models.store import shipped_models
from tests.python.hub_server import TOKEN, Hub, Repository, running
from tests.python.small_links import any_size_link, pixel_link

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
BEGIN = """
import json, sys
from semdiff.baselines import ADJSCC, DeepJSCC
from semdiff.link import PixelLink, SemanticLink

def attempt(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def weights(link):
    return float(sum(p.double().abs().sum() for p in link.unet.parameters()))
"""
Talk = Callable[..., Any]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as hub:
        yield hub


@pytest.fixture
def talk(hub: Hub, tmp_path: Path) -> Talk:
    """Run code in a process that takes `hub` for the Hub, in an empty folder; what it leaves in `said`."""
    (tmp_path / "here").mkdir()

    def run(code: str, **environment: str) -> Any:
        env = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"} | environment
        env["PYTHONPATH"] = os.pathsep.join([env.get("PYTHONPATH", ""), str(ROOT)])
        command = [sys.executable, "-c", f"{BEGIN}{code}\nprint(json.dumps(said))"]
        done = subprocess.run(command, cwd=tmp_path / "here", env=env, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def link_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("saved") / "link"
    any_size_link().save_pretrained(folder)
    return files_of(folder)


def put(hub: Hub, name: str, files: dict[str, bytes], **options: Any) -> Repository:
    hub.repositories[name] = Repository(**options)
    hub.repositories[name].commit(files)
    return hub.repositories[name]


def test_what_is_sent_comes_back(hub: Hub, talk: Talk, tmp_path: Path) -> None:
    said = talk(
        f"""
from tests.python.small_links import any_size_link, pixel_link
token, link = "{TOKEN}", any_size_link()
said = [link.push_to_hub("someone/photos", token=token)]
said.append(pixel_link().push_to_hub("pixels", private=True, token=token, commit_message="First"))
said.append(ADJSCC.default().push_to_hub("someone/adjscc", token=token))
link.save_pretrained("saved", push_to_hub=True, token=token)
said.append(attempt(lambda: link.push_to_hub("someone/other", token="hf_of_nobody")))
"""
    )
    names = ["someone/photos", "someone/pixels", "someone/adjscc"]
    assert [f"{hub.address}/{name}/commit/{next(reversed(hub.repositories[name].commits))}" for name in names] == said[:3]
    assert said[3].startswith("HfHubHTTPError: Client error '401")
    assert list(hub.repositories) == [*names, "someone/saved"]
    assert [hub.repositories[name].private for name in names] == [False, True, False]
    assert [hub.repositories[name].messages for name in names] == [["Upload SemanticLink"], ["First"], ["Upload ADJSCC"]]
    expected = {"someone/photos": any_size_link(), "someone/pixels": pixel_link(), "someone/adjscc": ADJSCC.default()}
    for name, model in expected.items():
        model.save(tmp_path / name) if isinstance(model, ADJSCC) else model.save_pretrained(tmp_path / name)
        sent = next(reversed(hub.repositories[name].commits.values()))
        card = sent.pop("README.md").decode()
        assert "library_name: semdiff" in card
        assert f'{type(model).__name__}.from_pretrained("{name}")' in card
        assert sent == files_of(tmp_path / name)  # byte for byte, with the checksums

    put(hub, "someone/photos", files_of(tmp_path / "someone/photos") | {"README.md": b"A card that was edited.\n", "pickle.bin": b"no"})
    said = talk(
        f"""
from tests.python.small_links import any_size_link
link, pixels, adjscc = [SemanticLink.from_pretrained(n, token="{TOKEN}") for n in ("someone/photos", "someone/pixels")] + [
    ADJSCC.from_pretrained("someone/adjscc")]
from semdiff.models.store import find_model
said = [type(pixels).__name__, str(PixelLink.download("someone/pixels", local_files_only=True)), str(find_model("someone/saved"))]
for name, model in ("link", link), ("pixels", pixels):
    model.save_pretrained(name)
adjscc.save("adjscc")
any_size_link().push_to_hub("someone/photos", token="{TOKEN}")
"""
    )
    assert said[0] == "PixelLink"
    for here, there in zip(("link", "pixels", "adjscc"), names, strict=True):
        tensors = [
            {k: v for k, v in files_of(folder / name).items() if k.endswith(".safetensors")}
            for folder, name in ((tmp_path / "here", here), (tmp_path, there))
        ]
        assert tensors[0] == tensors[1]
    cached = {path.name for path in Path(said[1]).rglob("*")}
    assert "model_index.json" in cached
    assert not {"pickle.bin", "README.md"} & {path.name for path in (tmp_path / "home").rglob("*")}
    assert (Path(said[2]) / "model_index.json").is_file()
    assert next(reversed(hub.repositories["someone/photos"].commits.values()))["README.md"] == b"A card that was edited.\n"


def test_revisions_and_the_cache(hub: Hub, talk: Talk, link_files: dict[str, bytes], tmp_path: Path) -> None:
    repository = put(hub, "someone/link", link_files)
    first = repository.find("main")
    other = any_size_link()
    for parameter in other.unet.parameters():
        parameter.data.mul_(2)
    other.save_pretrained(tmp_path / "other")
    second = repository.commit(files_of(tmp_path / "other"))
    repository.tags["v1"] = str(first)
    code = """
said = [weights(SemanticLink.from_pretrained("someone/link", **o)) for o in ({}, {"revision": "v1"}, {"revision": "%s"})]
said.append(attempt(lambda: SemanticLink.from_pretrained("someone/link", revision="v9")))
said.append(attempt(lambda: SemanticLink.from_pretrained("someone/none")))
said.append(attempt(lambda: SemanticLink.from_pretrained("someone/link", subfolder="unet")))
"""
    new, tagged, named, unknown, absent, refused = talk(code % first)
    assert new == pytest.approx(2 * tagged, rel=1e-6)
    assert tagged == named
    assert unknown.startswith("RevisionNotFoundError")
    assert absent.startswith(
        "FileNotFoundError: pretrained_model_name_or_path: there is no folder 'someone/none' here, and the Hub does not"
    )
    assert refused.startswith("TypeError: subfolder: expected one of ")
    fetched = [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    assert {request.split("/")[4] for request in fetched} == {first, second}

    def requests(code: str, **environment: str) -> tuple[Any, list[str]]:
        hub.requests.clear()
        return talk(code, **environment), [r for r in hub.requests if r.startswith("GET") and "/resolve/" in r]

    once = 'said = weights(SemanticLink.from_pretrained("someone/link"{}))'
    assert requests(once.format("")) == (new, [])  # from the cache
    got, again = requests(once.format(", force_download=True"))
    assert got == new
    assert sum(request.endswith(".safetensors") for request in again) == sum(name.endswith(".safetensors") for name in link_files)
    got, elsewhere = requests(once.format(", cache_dir='cache', revision='v1'"))
    assert got == tagged
    assert len(elsewhere) == len(link_files)
    assert any((tmp_path / "here" / "cache").rglob("*.safetensors"))

    hub.requests.clear()
    offline = """
said = [attempt(lambda: weights(SemanticLink.from_pretrained(name, **o)))
        for name, o in (("someone/link", {}), ("someone/link", {"local_files_only": True}), ("someone/none", {"local_files_only": True}))]
"""
    got, cached, none = talk(offline, HF_HUB_OFFLINE="1")
    assert (got, cached) == (new, new)
    assert none.startswith("FileNotFoundError: pretrained_model_name_or_path: there is no folder 'someone/none' here, and the Hub does not")
    assert hub.requests == []
    assert talk(offline, HF_ENDPOINT="http://127.0.0.1:9")[0] == new  # no connection: what is cached, as diffusers does


def test_tokens_open_private_repositories(hub: Hub, talk: Talk, link_files: dict[str, bytes]) -> None:
    put(hub, "someone/link", link_files, private=True)
    closed, given, stored = talk(
        f"""
said = [attempt(lambda: weights(SemanticLink.from_pretrained("someone/link")))]
said.append(weights(SemanticLink.from_pretrained("someone/link", token="{TOKEN}")))
import os
os.environ["HF_TOKEN"] = "{TOKEN}"
said.append(weights(SemanticLink.from_pretrained("someone/link", cache_dir="other")))
"""
    )
    assert closed.startswith("FileNotFoundError: pretrained_model_name_or_path")
    assert given == stored


def test_harm_on_the_hub_is_noticed(hub: Hub, talk: Talk, link_files: dict[str, bytes], tmp_path: Path) -> None:
    weights = "unet/diffusion_pytorch_model.safetensors"
    altered = bytearray(link_files[weights])
    altered[-1000] ^= 1
    put(hub, "someone/altered", link_files | {weights: bytes(altered)})
    lacking = put(hub, "someone/lacking", link_files)
    del next(iter(lacking.commits.values()))[weights]
    index = json.loads(link_files["model_index.json"])
    unlisted = {name: content for name, content in link_files.items() if name != "checksums.json"}
    foreign = json.dumps(index | {"unet": ["evil", "Evil"]}).encode()
    put(
        hub,
        "someone/foreign",
        unlisted | {"model_index.json": foreign, "evil.py": b"open('evil', 'w')\n", "unet/evil.py": b"open('evil', 'w')\n"},
    )
    put(hub, "someone/other", unlisted | {"model_index.json": json.dumps(index | {"_class_name": "StableDiffusionPipeline"}).encode()})
    put(hub, "someone/empty", {"README.md": b"Nothing yet.\n"})
    put(hub, "someone/deep", files_of(shipped_models("deepjscc")["fashion-mnist"]))
    said = talk(
        """
names = "altered", "lacking", "foreign", "other", "empty"
said = [attempt(lambda: SemanticLink.from_pretrained("someone/" + name)) for name in names]
said += [attempt(lambda: ADJSCC.from_pretrained("someone/deep")), type(DeepJSCC.load("someone/deep")).__name__]
"""
    )
    words = (
        f"ValueError: .*{weights}: truncated or altered, expected sha256",
        f"ValueError: .*{weights}: this file of the model is missing",
        "ValueError: .*model_index.json: unet: expected .*, got evil.Evil",
        "ValueError: .*expected a SemanticLink, got 'StableDiffusionPipeline'",
        "FileNotFoundError: .*expected a folder with model_index.json",
        "ValueError: .*expected the weights of a ADJSCC, got those of a DeepJSCC",
        "DeepJSCC",
    )
    for text, expected in zip(said, words, strict=True):
        assert re.match(expected, text), (expected, text)
    assert not list(tmp_path.rglob("evil*"))


def test_folders_and_the_packages_own_names_come_first(hub: Hub, talk: Talk, link_files: dict[str, bytes], tmp_path: Path) -> None:
    here = tmp_path / "here" / "someone" / "link"
    for name, content in link_files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content)
    put(hub, "someone/link", {"model_index.json": b"{}"})
    said = talk(
        """
said = [weights(SemanticLink.from_pretrained("someone/link")), SemanticLink.from_pretrained("photos").config.image_shape]
from pathlib import Path
for name in "photograph", "./someone/none", "/someone/none", "someone/link/none", Path("someone/none"):
    said.append(attempt(lambda: SemanticLink.from_pretrained(name)))
"""
    )
    unet = load_file(here / "unet" / "diffusion_pytorch_model.safetensors")
    assert said[0] == pytest.approx(float(sum(v.double().abs().sum() for v in unet.values())))
    assert said[1][0] == 3
    for text in said[2:]:
        assert text.startswith(
            "FileNotFoundError: pretrained_model_name_or_path: expected a folder of a trained model, one of cifar10, fashion-mnist, "
            "photos, or"
        )
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b", True), ("a-b/c_d.e", True), ("a", False), ("a/b/c", False), ("../b", False), ("~/b", False)]
)
def test_names_of_repositories(name: str, expected: bool) -> None:
    assert is_repository(name) == expected
