import torch

from ttt_data.seeds import derive_seed
from ttt_training.seeds import seeded_torch


def test_purposes_and_seeds_have_streams_of_their_own() -> None:
    seeds = [derive_seed(seed, purpose) for seed in (0, 1) for purpose in ("parameters", "batches")]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "parameters") == seeds[0]


def test_the_block_is_seeded_and_the_callers_state_returns() -> None:
    before = torch.random.get_rng_state()
    with seeded_torch(5):
        first = torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    with seeded_torch(5):
        assert torch.equal(torch.rand(3), first)
