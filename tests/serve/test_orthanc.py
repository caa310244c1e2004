"""A node beside a real Orthanc, which sends studies and gets the results."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from small_node import THEIRS, free_port, small_node, small_settings, wait_until

from fake_models import calls, open_fake
from lumbargrade.batch.dicomweb import study_on
from lumbargrade.batch.run import grade_studies
from lumbargrade.pacs.dicomweb import Server
from lumbargrade.serve.settings import Destination
from lumbargrade.serve.states import State
from small_studies import write_noise_study


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), free_port()) as found:
        yield found


def by_c_store(orthanc: Orthanc, port: int | None = None) -> Destination:
    return Destination("archive", THEIRS, "127.0.0.1", port or orthanc.dicom, timeout_seconds=5.0)


def study_uid(folder: Path) -> str:
    return str(
        dcmread(next(folder.rglob("*.dcm")), specific_tags=["StudyInstanceUID"]).StudyInstanceUID
    )


def test_a_sent_study_comes_back_as_a_report(tmp_path: Path, orthanc: Orthanc) -> None:
    folder = write_noise_study(tmp_path / "there-and-back")
    settings = small_settings(by_c_store(orthanc), port=orthanc.node)
    with small_node(tmp_path, settings) as queue:
        orthanc.send(orthanc.upload(folder))
        wait_until(lambda: queue.counts()[State.DONE])
        assert len(orthanc.reports(study_uid(folder))) == 1
    assert len(calls(tmp_path)) == 1


def test_results_go_back_by_stow(tmp_path: Path, orthanc: Orthanc) -> None:
    folder = write_noise_study(tmp_path / "by-stow")
    settings = small_settings(Destination("web", url=orthanc.dicomweb), port=orthanc.node)
    with small_node(tmp_path, settings) as queue:
        orthanc.send(orthanc.upload(folder))
        wait_until(lambda: queue.counts()[State.DONE])
        assert len(orthanc.reports(study_uid(folder))) == 1


def test_a_study_is_fetched_by_dicomweb(tmp_path: Path, orthanc: Orthanc) -> None:
    folder = write_noise_study(tmp_path / "to-fetch", depth=3)
    uid = study_uid(folder)
    orthanc.upload(folder)
    server = Server(orthanc.dicomweb)
    studies = [study_on(server, uid), study_on(server, "1.2.3")]
    for _ in range(2):
        summary = grade_studies(partial(open_fake, tmp_path), studies, tmp_path / "out")
        assert [line.study_id for line in summary.graded] == [uid]
        (failed,) = summary.failed
        assert "/dicom-web: it has no images of the study 1.2.3" in failed.what
    assert calls(tmp_path) == [uid]
