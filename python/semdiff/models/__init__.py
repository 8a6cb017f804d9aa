# SPDX-License-Identifier: Apache-2.0
"""Define the networks of links and baselines, and load and store their files."""

from importlib.util import find_spec

from semdiff.models.late import late_imports

if find_spec("diffusers"):
    # Before any module of networks asks for them: the first import decides what else is loaded.
    with late_imports():
        from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, UNet2DModel  # noqa: F401
