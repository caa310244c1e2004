"""A DICOM node, called by pynetdicom."""

from __future__ import annotations

from pathlib import Path

from small_node import call, fetch, small_node, small_settings, wait_until

from fake_models import calls
from lumbargrade.serve.queue import State
from small_studies import write_noise_study


def test_a_study_is_received_and_graded(tmp_path: Path) -> None:
    files = sorted(write_noise_study(tmp_path / "1.2.3").rglob("*.dcm"))
    settings = small_settings()
    with small_node(tmp_path, settings) as queue:
        assert call(settings, files) == [0] * len(files)
        wait_until(lambda: queue.counts()[State.DONE])
        assert "open" in fetch(settings, "/")
        print(
            fetch(settings, "/"),
            fetch(settings, "/studies/1"),
            fetch(settings, "/health"),
            fetch(settings, "/metrics"),
        )
    assert len(calls(tmp_path)) == 1
