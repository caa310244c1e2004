"""A node beside a real Orthanc, which sends studies and gets the results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from small_node import THEIRS, free_port, of_a_patient, small_node, small_settings, wait_until

from fake_models import calls, open_fake
from lumbargrade.batch.dicomweb import study_on
from lumbargrade.batch.run import grade_studies
from lumbargrade.pacs.dicomweb import Server
from lumbargrade.serve.settings import Destination
from lumbargrade.serve.states import State
from small_studies import write_noise_study

#: pynetdicom does not close the socket of a connection that was refused.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


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


def test_a_report_comes_back_once(tmp_path: Path, orthanc: Orthanc) -> None:
    """Sent, sent again with its report, and sent with a new image."""
    folder = of_a_patient(write_noise_study(tmp_path / "there-and-back", depth=3))
    settings = small_settings(by_c_store(orthanc), port=orthanc.node)
    with small_node(tmp_path, settings) as queue:
        study = orthanc.upload(folder)
        orthanc.send(study)
        wait_until(lambda: queue.counts()[State.DONE])
        (report,) = orthanc.reports(study_uid(folder))
        orthanc.send(study)  # duplicates, and our own report
        (row,) = queue.studies()
        assert (row.state, row.result) == (State.DONE, 1)
        orthanc.upload(of_a_patient(write_noise_study(tmp_path / "there-and-back", depth=4)))
        orthanc.send(study)
        wait_until(lambda: queue.sent().get(row.id) and queue.studies()[0].result == 2)
        wait_until(lambda: queue.counts()[State.DONE])
        reports = orthanc.reports(study_uid(folder))
    assert len(reports) == 2
    assert report in reports
    assert len(calls(tmp_path)) == 2
    (listed,) = orthanc.studies(study_uid(folder))  # not filed as another patient
    assert listed["00100020"]["Value"] == ["4711"]


def test_twenty_studies_at_once_go_back_by_stow(tmp_path: Path, orthanc: Orthanc) -> None:
    folders = [write_noise_study(tmp_path / "all" / f"s{n}", depth=2) for n in range(20)]
    settings = small_settings(
        Destination("web", url=orthanc.dicomweb), port=orthanc.node, workers=2
    )
    with small_node(tmp_path, settings) as queue:
        orthanc.send(*[orthanc.upload(folder) for folder in folders])
        wait_until(lambda: queue.counts()[State.DONE] == 20, 300)
    assert [len(orthanc.reports(study_uid(folder))) for folder in folders] == [1] * 20
    assert sorted(calls(tmp_path)) == sorted(map(study_uid, folders))


def test_an_orthanc_that_is_down_for_a_while(tmp_path: Path, orthanc: Orthanc) -> None:
    folder = write_noise_study(tmp_path / "patient", depth=2)
    port = free_port()
    to = replace(by_c_store(orthanc, port), retry_seconds=0.5)
    settings = small_settings(to, port=orthanc.node)
    with small_node(tmp_path, settings) as queue:
        orthanc.send(orthanc.upload(folder))
        wait_until(lambda: any(send.error for send in queue.sends(1)))
        assert queue.counts()[State.SENDING] == 1
        with running_orthanc(tmp_path / "other", orthanc.node, dicom=port) as other:
            wait_until(lambda: queue.counts()[State.DONE])
            assert len(other.reports(study_uid(folder))) == 1
    assert len(calls(tmp_path)) == 1


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
