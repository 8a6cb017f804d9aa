# SPDX-License-Identifier: Apache-2.0
"""Training in stages: autoencoder, latent diffusion, down- and up-sampler, receiver. Deterministic and resumable."""
