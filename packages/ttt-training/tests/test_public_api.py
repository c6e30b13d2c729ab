import ttt_training


def test_the_public_names_are_pinned() -> None:
    assert sorted(ttt_training.__all__) == [
        "Sampling",
        "Session",
        "evaluate",
        "generate",
        "load_checkpoint",
        "load_run",
        "save_checkpoint",
        "train",
        "verify_checkpoint",
    ]
    assert all(callable(getattr(ttt_training, name)) for name in ttt_training.__all__)
