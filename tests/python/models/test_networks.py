# SPDX-License-Identifier: Apache-2.0
"""What the parts of the networks promise, beyond what the trainings and the links show."""

import pytest
import torch

pytest.importorskip("diffusers")

import semdiff
from semdiff.models.networks import DetailDecoder, Finish, MeanDecoder


@pytest.fixture
def finish():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Finish(16, 192, 8, 2)
        torch.nn.init.normal_(made.conv_out.weight, std=0.1)
    return made


def some(rows):
    blocks, features = (semdiff.normal((2, c, rows, 6), semdiff.Key(c)) for c in (192, 16))
    return blocks, features, torch.tensor([[0.1, 1.1], [-2.0, 0.1]])


@pytest.mark.parametrize("rows", [Finish.BAND + 1, 2 * Finish.BAND, 3 * Finish.BAND + 5])
def test_bands_of_rows_make_the_whole(finish, rows):
    blocks = some(rows)
    with torch.no_grad():
        torch.testing.assert_close(finish(*blocks), finish._finished(*blocks), rtol=1e-5, atol=1e-5)


def test_it_sees_over_the_edges_of_blocks_and_no_further_than_it_says(finish):
    blocks, features, condition = some(2 * Finish.BAND)
    with torch.no_grad():
        before = finish(blocks, features, condition)
        blocks[:, :, 20, 3] += 1
        moved = (finish(blocks, features, condition) - before).abs().amax((0, 1, 3)).nonzero().flatten().tolist()
    assert moved[0] < 20 < moved[-1]
    assert moved[0] >= 20 - finish.reach
    assert moved[-1] <= 20 + finish.reach


def test_untrained_it_adds_nothing():
    """So a decoder may get one after its training."""
    z, log_error = (semdiff.normal((1, 4, 6, 6), k) for k in semdiff.Key(2).split())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = MeanDecoder(4, 192, 16, 1)
        finished = MeanDecoder(4, 192, 16, 1, finish=(8, 1))
        details = DetailDecoder(4, 192, 16, 1, finish=(8, 1))
    finished.load_state_dict(decoder.state_dict(), strict=False)
    mean = decoder(z, log_error)
    assert torch.equal(finished(z, log_error), mean)
    assert torch.equal(details(z, z, log_error, mean), mean)


def test_features_beyond_the_ceiling_are_cut_off_once_it_is_trained():
    z, log_error = (semdiff.normal((1, 4, 6, 6), k) for k in semdiff.Key(2).split())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = MeanDecoder(4, 192, 16, 1)
    seen = []
    decoder.conv_out.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    decoder.train()(z, log_error)
    decoder.ceiling.copy_(seen[0].amax((0, 2, 3)) * torch.linspace(0.2, 2, 16))
    decoder(z, log_error)
    decoder.eval()(z, log_error)
    assert torch.equal(seen[1], seen[0])
    torch.testing.assert_close(seen[2], torch.minimum(seen[0], decoder.ceiling[:, None, None]))
    assert not torch.equal(seen[2], seen[0])
