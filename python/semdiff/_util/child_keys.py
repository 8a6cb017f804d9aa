# SPDX-License-Identifier: Apache-2.0
"""The register of child keys: `key.fold_in(NAME)`. Two uses of one key have two numbers here.

Draws depend on these numbers, so none is ever changed. `key.split(n)` makes other children than any `fold_in`; its keys are named where it
is called. Children that are numbered by what is counted, a step, an epoch or an image, are below 2^31.

A key is                    and its children are
of a transmission           CHANNEL, UPSAMPLER, DENOISER; for the bound on capacity CHANNEL, CODEWORD
of the denoiser             SAMPLE and MEAN where both pictures are made; its own numbers are for the state at which it begins
of a sampler                the steps, by number; WAITING and MOVING where elements have times of their own
of a training               the steps, by number, and of each the processes; BATCHES, and of that the epochs or steps
"""

CHANNEL, UPSAMPLER, DENOISER = 0, 1, 2
CODEWORD = 1
SAMPLE, MEAN = 1, 2
WAITING, MOVING = 1 << 32, (1 << 32) + 1  # the noise that waiting elements wear, and that of their one move from their own time
BATCHES = 1 << 31
