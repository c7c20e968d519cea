"""A finished search has its log and what it found of model and data with its study."""


def test_the_log_of_the_first_look_goes_on_as_the_studys(finished):
    log = (finished / "tune-artifacts" / "logs" / "worker-0.log").read_text()
    assert "session loratune" in log  # its first words, said before there was a study
    assert log.rstrip().endswith("closed")  # and its last


def test_tokens_and_digests_are_kept_with_the_study(finished):
    cache = finished / "tune-artifacts" / "cache"
    kept = sorted(file.name for file in cache.iterdir())
    assert any(name.startswith("tokens-") for name in kept)
    assert "model-digests.json" in kept
    assert not any(file.is_symlink() or file.name.startswith(".") for file in cache.iterdir())
